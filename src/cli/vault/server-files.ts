/**
 * The files that go with `--vault`: a key, a CA, a certificate of the caller's. Read up to a limit, pipes too
 * (`--key-file <(pass show vault)`); must never put what stands in one into an error.
 */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { AgentVaultOptions } from "../../client/index.ts";
import { isPair, MAX_PEM, pemFault } from "../../config/client-tls.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { Invocation } from "../command.ts";
import { readUpTo } from "../env-input.ts";

export const API_KEY_VARIABLE = "ASS_API_KEY";
export const AGENT_KEY_VARIABLE = "ASS_AGENT_KEY";

/** A key has 53 characters, a token a few thousand at most. `bytes` */
const MAX_KEY = 16 * 1024;
const OTHERS = 0o077;

export interface GivenKey {
  readonly text: string;
  /** `the file operator.key`, `ASS_API_KEY`: for people. */
  readonly from: string;
}

/** Errors: CONFIG_USAGE. */
export const readKey = async (invocation: Invocation): Promise<GivenKey> => {
  const { options, environment, terminal } = invocation;
  const file = options.text("key-file");
  if (file !== undefined) {
    // Also takes away the mark that some editors put before the first byte.
    const text = (await readText("key-file", file, MAX_KEY, invocation)).trim();
    if (text === "") throw usage(`--key-file: ${file} holds no key.`, "It holds the key or token alone, on one line.");
    if (!/^[\x21-\x7e]{1,8192}$/.test(text)) {
      throw usage(`--key-file: what ${file} holds is no key.`, "It holds the key or token alone, on one line.");
    }
    const mode = othersMode(resolve(invocation.directory, file));
    if (mode !== undefined) terminal.note(`${file} can be read by other users (mode ${mode}): chmod 600 ${file}`);
    return { text, from: `the file ${file}` };
  }
  for (const name of [API_KEY_VARIABLE, AGENT_KEY_VARIABLE]) {
    const text = environment[name]?.trim() ?? "";
    if (text !== "") return { text, from: name };
  }
  throw usage(
    "The vault server asks for a key, and none is given.",
    `Give it with --key-file FILE or in ${API_KEY_VARIABLE} (an operator's) or ${AGENT_KEY_VARIABLE} (an agent's).`,
  );
};

/** What the connection is made with. Errors: CONFIG_USAGE. */
export const readTls = async (invocation: Invocation): Promise<Pick<AgentVaultOptions, "ca" | "certificate">> => {
  const { options } = invocation;
  const ca = await readPem("ca", invocation);
  if ((options.text("cert") === undefined) !== (options.text("cert-key") === undefined)) {
    throw usage("--cert and --cert-key go together.", "Give the certificate with --cert and its key with --cert-key.");
  }
  const cert = await readPem("cert", invocation);
  const key = await readPem("cert-key", invocation);
  if (cert === undefined || key === undefined) return { ...(ca !== undefined && { ca }) };
  requirePair(options.text("cert") ?? "", cert, options.text("cert-key") ?? "", key);
  return { ...(ca !== undefined && { ca }), certificate: { cert, key } };
};

const readPem = async (option: "ca" | "cert" | "cert-key", invocation: Invocation): Promise<string | undefined> => {
  const file = invocation.options.text(option);
  if (file === undefined) return undefined;
  const text = await readText(option, file, MAX_PEM, invocation);
  const fault = pemFault(text, option === "cert-key" ? "private key" : "certificate", file);
  if (fault === undefined) return text;
  throw usage(`--${option}: ${file} ${fault.reason}.`, fault.hint);
};

/** Found out here, where both files have names; a handshake that fails says neither. */
const requirePair = (certFile: string, cert: string, keyFile: string, key: string): void => {
  const fits = isPair(cert, key);
  if (fits === undefined) throw usage(`--cert, --cert-key: ${certFile} or ${keyFile} is damaged.`);
  if (!fits) throw usage(`--cert-key: ${keyFile} is not the key of the first certificate in ${certFile}.`);
};

const readText = async (option: string, file: string, limit: number, { directory }: Invocation): Promise<string> => {
  const path = resolve(directory, file);
  let bytes: Buffer;
  try {
    bytes = await readUpTo(path, limit + 1);
  } catch (error) {
    const code = error instanceof SidekeyError && error.cause instanceof Error ? codeOf(error.cause) : "unknown";
    throw usage(`--${option}: ${path} cannot be read (${code}).`, "Check the path and its mode.");
  }
  if (bytes.length > limit) throw usage(`--${option}: ${path} is far too large.`, "Is it the right file?");
  return bytes.toString("utf8");
};

const codeOf = (error: Error): string => ("code" in error ? String(error.code) : "unknown");

/** Octal, when others than its owner may read a plain file. */
const othersMode = (path: string): string | undefined => {
  const found = statSync(path, { throwIfNoEntry: false });
  return found?.isFile() === true && (found.mode & OTHERS) !== 0 ? (found.mode & 0o777).toString(8) : undefined;
};

const usage = (detail: string, hint?: string): SidekeyError =>
  new SidekeyError("CONFIG_USAGE", { detail, ...(hint !== undefined && { hint }) });
