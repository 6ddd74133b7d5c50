/** The file read again while it serves: every trigger, what stays, what is refused, and who keeps what they began with. */
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { silentLog } from "../../src/core/log.ts";
import { openConnection, type RawResponse } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";
import { startUpstream, type TestUpstream, type UpstreamHandler } from "../support/upstream.ts";

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** Every test's file: one route to one upstream, whose header format tells which text of the file it came from. */
const fileOf = (upstream: TestUpstream, mark: string, more = ""): string => `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
routes:
  api:
    match: http://127.0.0.1:${upstream.port}/**
    secret: API_KEY
    inject: { kind: header, name: X-Api-Key, format: "${mark} {secret}" }
${more}`;

interface Stage {
  readonly upstream: TestUpstream;
  readonly sidecar: TestSidecar;
  /** Error lines of the log. */
  readonly errors: string[];
  readonly path: string;
  /** The header that the upstream got, or the code of the refusal. */
  ask(path?: string): Promise<string | undefined>;
  write(mark: string, more?: string): void;
  /** Until the upstream sees this mark. */
  until(mark: string): Promise<void>;
}

const open = async (
  options: {
    readonly handler?: UpstreamHandler;
    readonly watch?: boolean;
    /** Makes the file, and says where the sidecar finds it. */
    readonly place?: (directory: string, text: string) => void;
  } = {},
): Promise<Stage> => {
  const upstream = await startUpstream(options.handler === undefined ? {} : { handler: options.handler });
  closers.push(() => upstream.close());
  const errors: string[] = [];
  const text = fileOf(upstream, "one");
  const place = options.place ?? ((directory, content) => writeFileSync(join(directory, "sidekey.yaml"), content));
  const sidecar = await startTestSidecar({
    file: text,
    environment: { API_KEY: "the-key" },
    prepare: async (directory) => place(directory, text),
    start: {
      watch: options.watch ?? true,
      log: { ...silentLog, error: (message) => void errors.push(message) },
    },
  });
  closers.push(() => sidecar.close());
  const path = join(sidecar.directory, "sidekey.yaml");
  const stage: Stage = {
    upstream,
    sidecar,
    errors,
    path,
    async ask(target = "/") {
      const seen = upstream.requests.length;
      const { headers } = await get(sidecar.port, `http://127.0.0.1:${upstream.port}${target}`);
      return headers.get("x-sidekey-error")?.[0] ?? upstream.requests[seen]?.header("x-api-key")[0];
    },
    write: (mark, more) => writeFileSync(path, fileOf(upstream, mark, more)),
    async until(mark) {
      await expect.poll(() => stage.ask(), { timeout: 5_000, interval: 50 }).toBe(`${mark} the-key`);
    },
  };
  return stage;
};

const get = async (port: number, url: string): Promise<RawResponse> => {
  const connection = await openConnection(port);
  connection.send(`GET ${url} HTTP/1.1\r\nHost: ${new URL(url).host}\r\nConnection: close\r\n\r\n`);
  const response = await connection.receive();
  connection.destroy();
  return response;
};

describe("a change of the file acts by itself", () => {
  it("when it is written in place", async () => {
    const stage = await open();
    expect(await stage.ask()).toBe("one the-key");
    stage.write("two");
    await stage.until("two");
  });

  it("when another is renamed over it, again and again", async () => {
    const stage = await open();
    for (const mark of ["two", "three", "four"]) {
      const next = join(stage.sidecar.directory, "next.yaml");
      writeFileSync(next, fileOf(stage.upstream, mark));
      renameSync(next, stage.path);
      await stage.until(mark);
    }
  });

  it("when it is removed and made again; between the two the old one goes on", async () => {
    const stage = await open();
    rmSync(stage.path);
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(await stage.ask()).toBe("one the-key");
    stage.write("two");
    await stage.until("two");
    expect(stage.errors).toEqual([]);
  });

  it("when a mounted ConfigMap's ..data is swapped", async () => {
    const revision = (directory: string, name: string, text: string): void => {
      mkdirSync(join(directory, name));
      writeFileSync(join(directory, name, "sidekey.yaml"), text);
      symlinkSync(name, join(directory, "..data_tmp"));
      renameSync(join(directory, "..data_tmp"), join(directory, "..data"));
    };
    const stage = await open({
      place(directory, text) {
        revision(directory, "..2026_1", text);
        symlinkSync("..data/sidekey.yaml", join(directory, "sidekey.yaml"));
      },
    });
    expect(await stage.ask()).toBe("one the-key");
    revision(stage.sidecar.directory, "..2026_2", fileOf(stage.upstream, "two"));
    await stage.until("two");
  });

  it("when the file that a link leads to, in another directory, is replaced", async () => {
    const stage = await open({
      place(directory, text) {
        mkdirSync(join(directory, "elsewhere"));
        writeFileSync(join(directory, "elsewhere", "real.yaml"), text);
        symlinkSync("elsewhere/real.yaml", join(directory, "sidekey.yaml"));
      },
    });
    const real = join(stage.sidecar.directory, "elsewhere", "real.yaml");
    writeFileSync(`${real}.next`, fileOf(stage.upstream, "two"));
    renameSync(`${real}.next`, real);
    await stage.until("two");
  });

  it("only once its last part is written", async () => {
    const stage = await open();
    const text = fileOf(stage.upstream, "two");
    for (let at = 0; at <= text.length; at += 40) {
      writeFileSync(stage.path, text.slice(0, at));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    writeFileSync(stage.path, text);
    await stage.until("two");
    expect(stage.errors).toEqual([]);
  });
});
