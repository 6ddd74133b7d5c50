/** A built `sidekey vault serve` on a store of its own, and its API as an operator calls it. */
import { createInterface } from "node:readline";
import { type Finished, finished, launch, type RunOptions } from "./program.ts";
import type { Workspace } from "./workspace.ts";

export interface VaultProgram {
  /** `http://127.0.0.1:PORT` */
  readonly address: string;
  /** `ask_op_…` */
  readonly operatorKey: string;
  /** A call as this key or token, default the operator's. */
  call(method: string, path: string, body?: object, key?: string): Promise<Called>;
  /** As `call`; anything but a 2xx is an error. */
  must(method: string, path: string, body?: object, key?: string): Promise<Record<string, unknown>>;
  stop(): Promise<Finished>;
}

export interface Called {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

/** In `work`, with this text as its vault.yaml (default: any free port). */
export const startVaultProgram = async (
  work: Workspace,
  text = 'version: 1\nlisten: "127.0.0.1:0"\n',
  options: Omit<RunOptions, "cwd"> = {},
): Promise<VaultProgram> => {
  work.write("vault.yaml", text);
  const made = await work.sidekey(["vault", "init", "--json"], options);
  if (made.code !== 0) throw new Error(`vault init ended with ${made.code}: ${made.stderr}`);
  const operatorKey = String((JSON.parse(made.stdout) as Record<string, unknown>)["operator_key"]);
  const child = launch(["vault", "serve", "-c", "vault.yaml"], { cwd: work.path, ...options });
  child.stdin?.end();
  const end = finished(child);
  const address = await new Promise<string>((resolve, reject) => {
    if (child.stdout === null) return reject(new Error("no standard output"));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const [, ready] = /^sidekey vault ready (.*)$/.exec(line) ?? [];
      if (ready !== undefined) resolve(String((JSON.parse(ready) as Record<string, unknown>)["address"]));
    });
    end.then(({ code, stderr }) => reject(new Error(`vault serve ended with ${code}:\n${stderr}`)), reject);
  });

  const call = async (method: string, path: string, body?: object, key = operatorKey): Promise<Called> => {
    const answer = await fetch(address + path, {
      method,
      headers: { authorization: `Bearer ${key}`, ...(body !== undefined && { "content-type": "application/json" }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, body: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>) };
  };

  return {
    address,
    operatorKey,
    call,
    async must(...args) {
      const { status, body } = await call(...args);
      if (status < 200 || status > 299) throw new Error(`${args[0]} ${args[1]}: ${status} ${JSON.stringify(body)}`);
      return body;
    },
    stop() {
      child.kill("SIGTERM");
      return end;
    },
  };
};
