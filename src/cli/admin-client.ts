/** Asks the sidecar that runs for a file, over its admin socket. */
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { SidekeyError } from "../core/errors.ts";
import type { Invocation } from "./command.ts";
import { DEFAULT_NAME, findConfigFile } from "./context.ts";

export interface AdminAnswer {
  readonly status: number;
  /** The JSON of the answer. */
  readonly body: unknown;
}

/** A reload opens sources, and those may have to time out first. `ms` */
const TIMEOUT_MS = 60_000;
/** `bytes` */
const MAX_ANSWER = 16 * 1024 * 1024;

/** Errors: CONFIG_NOT_RUNNING. */
export const askSidecar = async (
  invocation: Invocation,
  method: "GET" | "POST",
  path: string,
  timeoutMs = TIMEOUT_MS,
): Promise<AdminAnswer> => {
  const { adminSocketOf } = await import("../sidecar/app/config/admin-address.ts");
  const file = findConfigFile(invocation) ?? join(invocation.directory, DEFAULT_NAME);
  return ask(adminSocketOf(file), method, path, timeoutMs);
};

const ask = (socketPath: string, method: string, path: string, timeoutMs: number): Promise<AdminAnswer> =>
  new Promise((resolve, reject) => {
    const fail = (why: string, hint?: string): void =>
      reject(
        new SidekeyError("CONFIG_NOT_RUNNING", {
          detail: `${socketPath}: ${why}`,
          ...(hint !== undefined && { hint }),
        }),
      );
    const asked = request({ socketPath, method, path, headers: { host: "sidekey" }, agent: false }, (response) => {
      readJson(response).then(
        (body) => resolve({ status: response.statusCode ?? 0, body }),
        () => fail("its answer is not one of a sidecar."),
      );
    });
    asked.setTimeout(timeoutMs, () => asked.destroy(Object.assign(new Error("late"), { code: "ETIMEDOUT" })));
    asked.on("error", (error: NodeJS.ErrnoException) => {
      const [why, hint] = WORDS[error.code ?? ""] ?? [`it broke off (${error.code ?? "unknown"}).`];
      fail(why, hint);
    });
    asked.end();
  });

const WORDS: Readonly<Record<string, readonly [string, string?]>> = {
  ENOENT: ["there is no such socket.", "Start one: sidekey start. If one runs, name its file with -c FILE."],
  ECONNREFUSED: ["a sidecar was here and has gone.", "Start it again: sidekey start."],
  EACCES: ["it belongs to another user.", "Run this as the user who runs the sidecar."],
  ETIMEDOUT: ["it does not answer."],
};

const readJson = async (response: IncomingMessage): Promise<unknown> => {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    const bytes = Buffer.from(chunk);
    size += bytes.length;
    if (size > MAX_ANSWER) throw new Error("too large");
    chunks.push(bytes);
  }
  return JSON.parse(Buffer.concat(chunks).toString("utf8"));
};
