/**
 * A credential in the file: where it is kept, never what it is. Must never put the value, or part of it, into an error.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import * as z from "zod";
import { SidekeyError } from "../core/errors.ts";
import { cutTrailingNewline } from "../core/secret-bytes.ts";

const FILE = z.strictObject({ file: z.string().min(1).describe("File that holds it.") });
const ENVIRONMENT = z.strictObject({
  env: z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "must be a variable's name")
    .describe("Variable that holds it."),
});

/** `{ file: PATH }` or `{ env: NAME }`. */
export const credentialSchema = z
  .union([FILE, ENVIRONMENT], {
    error: "must be { file: PATH } or { env: NAME }; a value is never written here",
  })
  .meta({ id: "credential" });

export type Credential = z.output<typeof credentialSchema>;

export type Environment = Readonly<Record<string, string | undefined>>;

export interface CredentialContext {
  /** Absolute directory that a relative `file` starts from. */
  readonly baseDir: string;
  readonly environment: Environment;
}

/** The text that `credential` points to, one trailing newline cut. Errors: CONFIG_INVALID (absent, unreadable, empty). */
export const readCredential = (credential: Credential, { baseDir, environment }: CredentialContext): string => {
  const where = "file" in credential ? resolve(baseDir, credential.file) : `variable ${credential.env}`;
  const text =
    "file" in credential
      ? readText(where)
      : Object.hasOwn(environment, credential.env)
        ? environment[credential.env]
        : "";
  if (text === undefined || text === "") {
    throw new SidekeyError("CONFIG_INVALID", { detail: `The credential in ${where} is missing or empty.` });
  }
  return text;
};

const readText = (path: string): string => {
  try {
    return cutTrailingNewline(readFileSync(path)).toString("utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    throw new SidekeyError("CONFIG_INVALID", { detail: `The credential file ${path} cannot be read (${code}).` });
  }
};
