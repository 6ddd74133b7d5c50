/** Reads a configuration file whole, within its limit. Never parses, never puts content into an error. */
import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { SidekeyError } from "../core/errors.ts";
import { MAX_FILE_SIZE } from "./document.ts";
import { createProblem, type Problem } from "./problem.ts";

/** `digest`: SHA-256 of the bytes, hex, whatever they are. */
export type FileText = { readonly digest: string } & ({ readonly text: string } | { readonly problem: Problem });

/** `initHint`: what makes a first one where there is none. Errors: CONFIG_UNREADABLE. */
export const readConfigFile = (path: string, initHint: string): FileText => {
  const bytes = readLimited(path, initHint);
  const digest = digestOf(bytes);
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), digest };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const problem = createProblem(path, { line: 1, column: 1 }, { path: [], message: "the file is not UTF-8" });
    return { problem, digest };
  }
};

export const digestOf = (content: string | Buffer): string => createHash("sha256").update(content).digest("hex");

/** One byte more than is allowed tells a file that is too large; pipes and devices have no size to ask for. */
const readLimited = (path: string, initHint: string): Buffer => {
  const bytes = Buffer.alloc(MAX_FILE_SIZE + 1);
  let length = 0;
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, "r");
    while (length < bytes.length) {
      const read = readSync(descriptor, bytes, length, bytes.length - length, null);
      if (read === 0) break;
      length += read;
    }
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "unknown";
    throw new SidekeyError("CONFIG_UNREADABLE", {
      detail: `${path} (${code})`,
      cause,
      ...(code === "ENOENT" && { hint: `There is no such file. ${initHint}` }),
    });
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
  return bytes.subarray(0, length);
};
