/** What a process that holds secrets leaves open, prints or leaves behind (guarantees.md F1 to F3, R11, R17, R25). */
import { mkdirSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { ProxyAgent, request } from "undici";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { API_HOST, API_URL, type Api, CANARY, CANARY_FORMS, createApi } from "../support/api.ts";
import { logged, type Running, type RunOptions, startSidekey } from "../support/program.ts";
import { watchStalls } from "../support/stalls.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const portOf = (running: Running): number => Number(String(running.ready["proxy"]).split(":").at(-1));
const pidOf = (running: Running): number => running.child.pid ?? 0;
const procOf = (running: Running, name: string): string => readFileSync(`/proc/${pidOf(running)}/${name}`, "utf8");

/** A sidecar in front of an upstream, and an agent of it. */
interface Stage extends Api {
  readonly running: Running;
  /** The body, or `cut off`. */
  call(): Promise<string>;
}

const createStage = async (
  handler: Parameters<typeof createApi>[0],
  options: Omit<RunOptions, "cwd"> = {},
  prepare: (api: Api) => void = () => {},
): Promise<Stage> => {
  const api = await createApi(handler);
  prepare(api);
  const running = await startSidekey([], { cwd: api.work.path, ...options });
  const requestTls = { ca: readFileSync(api.work.at(".sidekey/ca.pem"), "utf8") };
  const dispatcher = new ProxyAgent({ uri: `http://127.0.0.1:${portOf(running)}`, requestTls });
  return {
    ...api,
    running,
    call: () =>
      request(API_URL, { dispatcher }).then(
        ({ body }) => body.text().catch(() => "cut off"),
        () => "cut off",
      ),
    async close() {
      running.child.kill("SIGKILL");
      await dispatcher.destroy();
      await api.close();
    },
  };
};

const stages: Stage[] = [];
const stage = async (...parts: Parameters<typeof createStage>): Promise<Stage> => {
  const made = await createStage(...parts);
  stages.push(made);
  return made;
};
afterEach(async () => {
  for (const made of stages.splice(0)) await made.close();
});

const expectNoCanary = (text: string): void => {
  for (const form of CANARY_FORMS) expect(text).not.toContain(form);
};

describe("LOG_TOKENS and LOG_STREAM, with which the YAML library prints what it reads", () => {
  const environment = { LOG_TOKENS: "1", LOG_STREAM: "1" };
  let work: Workspace;
  beforeEach(() => {
    work = createWorkspace();
    work.write("sidekey.yaml", "version: 1\n");
  });
  afterEach(() => work.remove());

  it("print nothing", async () => {
    const file = work.at("sidekey.yaml");
    expect(await work.sidekey(["check"], { environment })).toEqual({ code: 0, stdout: `${file}: fine\n`, stderr: "" });
  });

  it("are still the caller's for the program of a run", async () => {
    const script = 'echo "$LOG_TOKENS $LOG_STREAM"';
    const { stdout } = await work.sidekey(["run", "--", "sh", "-c", script], { environment });
    expect(stdout).toBe("1 1\n");
  });
});

describe("USR1", () => {
  /** Ports that the process listens on (proc_pid_net(5): state 0A). */
  const listening = (running: Running): readonly number[] => {
    const directory = `/proc/${pidOf(running)}/fd`;
    const links = readdirSync(directory).map((name) => {
      try {
        return readlinkSync(`${directory}/${name}`);
      } catch {
        // Closed since it was listed.
        return "";
      }
    });
    const own = new Set(links.map((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1]));
    return ["net/tcp", "net/tcp6"]
      .flatMap((name) => procOf(running, name).trim().split("\n").slice(1))
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , , state, , , , , , inode]) => state === "0A" && own.has(inode))
      .map(([, local = ""]) => Number.parseInt(local.split(":")[1] ?? "", 16));
  };

  it("opens no port", async () => {
    const { running, call } = await stage((_, response) => void response.end("fine"));
    expect(listening(running)).toEqual([portOf(running)]);
    running.child.kill("SIGUSR1");
    // An inspector is opened by a thread of its own; a whole request gives it time.
    expect(await call()).toBe("fine");
    expect(listening(running)).toEqual([portOf(running)]);
    expect((await running.stop()).code).toBe(0);
  });
});

describe("a sidecar that has used a secret", () => {
  const keepInFile = ({ work }: Api): void => {
    mkdirSync(work.at("keys"));
    work.write("keys/x", CANARY);
    const file = readFileSync(work.at("sidekey.yaml"), "utf8").replace("production/x/key", "keys:x");
    work.write("sidekey.yaml", `${file}\nsources: { keys: { kind: file, root: ./keys } }\n`);
  };

  it.each([
    ["the vault", undefined],
    ["a file", keepInFile],
  ])("from %s shows it in neither its environment nor its arguments", async (_, prepare) => {
    const { running, call, upstream } = await stage((_, response) => void response.end("fine"), {}, prepare);
    expect(await call()).toBe("fine");
    expect(upstream.requests[0]?.header("authorization")).toEqual([`Bearer ${CANARY}`]);
    expectNoCanary(procOf(running, "environ") + procOf(running, "cmdline"));
  });

  it("may write no core dump", async () => {
    const { running } = await stage(undefined, { before: "ulimit -S -c unlimited" });
    expect(procOf(running, "limits")).toMatch(/^Max core file size +0 /m);
  });

  it("dies of ABRT without a core dump, a report or a word of the secret", async () => {
    const { running, call, work } = await stage((_, response) => void response.end("fine"), {
      before: "ulimit -S -c unlimited",
    });
    expect(await call()).toBe("fine");
    const before = readdirSync(work.path).sort();
    const { code, stdout, stderr } = await running.stop("SIGABRT");
    expect(code).toBe(134);
    expectNoCanary(stdout + stderr);
    expect(readdirSync(work.path).sort()).toEqual(before);
  });

  const FAULTS = `
    process.on("SIGWINCH", () => setTimeout(() => { throw new Error("timer ${CANARY}"); }, 1));
    process.on("SIGCONT", () => Promise.reject(new Error("promise ${CANARY}")));
  `;

  it.each([
    ["an exception in a timer", "SIGWINCH"],
    ["a rejection that nobody handles", "SIGCONT"],
  ] as const)("ends with 1 and a line without the secret after %s", async (_, signal) => {
    const faults = createWorkspace();
    const preload = faults.write("faults.cjs", FAULTS);
    let arrived: () => void = () => {};
    const asked = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const { running, call, work } = await stage(
      (_, response) => {
        response.write("half");
        arrived();
      },
      { nodeArguments: ["--require", preload] },
    );
    const inFlight = call();
    await asked;
    const { code, stderr } = await running.stop(signal);
    faults.remove();
    expect(code).toBe(1);
    expect(stderr).toBe(
      "sidekey: INTERNAL: Stopped by a fault that nothing handled.\nhint: SIDEKEY_LOG_LEVEL=debug shows where.\n",
    );
    // No half state: what was under way is cut, not ended as if it were whole; what was recorded stays.
    expect(await inFlight).toBe("cut off");
    expect((await work.sidekey(["audit", "verify"])).code).toBe(0);
  });
});

describe("TERM under load", () => {
  const CALLS = 20;

  it("lets every request in flight end whole, and then ends with 0", async () => {
    const open: (() => void)[] = [];
    let arrived: () => void = () => {};
    const all = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const { running, call } = await stage((_, response) => {
      response.write("first half, ");
      open.push(() => void response.end("second half"));
      if (open.length === CALLS) arrived();
    });
    const calls = Array.from({ length: CALLS }, call);
    const stopping = logged(running.child, "stopping");
    await all;
    running.child.kill("SIGTERM");
    await stopping;
    for (const end of open) end();
    expect(await Promise.all(calls)).toEqual(calls.map(() => "first half, second half"));
    expect((await running.end).code).toBe(0);
  });
});

describe("400 clients and 256 open files", () => {
  const stalls = watchStalls();
  afterAll(() => stalls.stop());

  /**
   * A client that asks for a tunnel, at once or when `mayAsk`, and never closes its side: the first bytes of the answer,
   * or why there are none.
   */
  const openTunnel = (port: number, sockets: Socket[], mayAsk?: Promise<unknown>): Promise<string> =>
    new Promise((resolve) => {
      const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
      sockets.push(socket);
      const ask = () => void socket.write(`CONNECT ${API_HOST}:443 HTTP/1.1\r\nHost: ${API_HOST}:443\r\n\r\n`);
      socket.on("error", (error) => resolve(error.message));
      socket.on("close", () => resolve("closed"));
      socket.on("end", () => resolve("closed"));
      socket.on("connect", () => (mayAsk === undefined ? ask() : void mayAsk.then(ask)));
      socket.on("data", (chunk) => resolve(String(chunk)));
    });

  it.each([
    ["that ask at once", false],
    ["that say nothing while all of them come", true],
  ])("%s are served as far as files go, refused beyond, and served again when others have left", async (_, waits) => {
    const { running, call, upstream } = await stage((_request, response) => void response.end("fine"), {
      before: "ulimit -n 256",
    });
    const sockets: Socket[] = [];
    let answered = 0;
    let letAsk: () => void = () => {};
    const othersAreAnswered = new Promise<void>((resolve) => {
      letAsk = resolve;
    });
    const mayAsk = waits ? othersAreAnswered : undefined;
    const answers = await Promise.all(
      Array.from({ length: 400 }, async () => {
        const answer = await openTunnel(portOf(running), sockets, mayAsk);
        answered += 1;
        if (answered === 400 - 83) letAsk();
        return answer;
      }),
    );
    const served = answers.filter((answer) => answer.startsWith("HTTP/1.1 200 "));
    const refused = answers.filter((answer) => answer.startsWith("HTTP/1.1 503 ") && answer.includes("OVERLOADED"));
    expect(served).toHaveLength(83);
    expect(refused).toHaveLength(400 - 83);
    expect(upstream.requests).toHaveLength(0);
    const left = stalls.now();
    for (const socket of sockets) socket.destroy();
    // Until the last of them is gone on the other side as well.
    let last = "cut off";
    while (last === "cut off") last = await call();
    expect(last).toBe("fine");
    // R17: within 1 s, and here at most twice that, on a machine that does other work too.
    expect(stalls.now() - left).toBeLessThan(2_000);
    const { code, stderr } = await running.stop();
    expect(code).toBe(0);
    expect(stderr).not.toMatch(/EMFILE/);
  });
});
