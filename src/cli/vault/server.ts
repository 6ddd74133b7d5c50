/**
 * `--vault URL`: the same commands against a vault server. Its key comes from a file or a variable, never from an argument,
 * and only what the person names is asked and trusted.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { AgentVault, AgentVaultOptions } from "../../client/index.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { Invocation, OptionSpec } from "../command.ts";
import { refuseInsideRun } from "../inside-run.ts";

const API_KEY_VARIABLE = "ASS_API_KEY";
const AGENT_KEY_VARIABLE = "ASS_AGENT_KEY";

/** For every command that works on a vault, here or on a server. */
export const SERVER_OPTIONS: readonly OptionSpec[] = [
  { flags: "--vault <url>", summary: "a vault server, in place of the vault of this machine" },
  {
    flags: "--key-file <file>",
    summary: `its key, with --vault (else $${API_KEY_VARIABLE}, else $${AGENT_KEY_VARIABLE})`,
  },
  { flags: "--ca <file>", summary: "CA certificates to trust in place of the system's, with --vault (PEM)" },
];

/** Whether the command is to ask a server. Errors: CONFIG_USAGE for options that do not go together. */
export const asksServer = ({ options }: Pick<Invocation, "options">): boolean => {
  const isAsked = options.text("vault") !== undefined;
  if (isAsked && options.text("source") !== undefined) {
    throw usage("--source names a vault of this machine, and --vault one elsewhere; give one of them.");
  }
  for (const name of ["key-file", "ca"]) {
    if (!isAsked && options.text(name) !== undefined) throw usage(`--${name} goes with --vault URL.`);
  }
  return isAsked;
};

/**
 * Lets `use` call the server that `--vault` names. Errors: CONFIG_USAGE (no key, a file that cannot be read, inside
 * `run`), CLIENT_BAD_ADDRESS, and those of `use`.
 */
export const withServer = async <T>(
  command: string,
  invocation: Invocation,
  use: (vault: AgentVault) => Promise<T>,
): Promise<T> => {
  refuseInsideRun(command, invocation);
  const { AgentVault: Client } = await import("../../client/index.ts");
  const address = invocation.options.text("vault") ?? "";
  const ca = readCa(invocation);
  const vault = new Client({ address, ...credentialOf(readKey(invocation)), ...(ca !== undefined && { ca }) });
  try {
    return await use(vault);
  } finally {
    vault.close();
  }
};

const readKey = ({ options, environment, directory }: Invocation): string => {
  const file = options.text("key-file");
  if (file !== undefined) {
    const key = readText("--key-file", resolve(directory, file)).trim();
    if (key === "") throw usage(`${file} holds no key.`);
    return key;
  }
  for (const name of [API_KEY_VARIABLE, AGENT_KEY_VARIABLE]) {
    const key = environment[name];
    if (key !== undefined && key !== "") return key;
  }
  throw new SidekeyError("CONFIG_USAGE", {
    detail: "The vault server asks for a key, and none is given.",
    hint: `Give it with --key-file FILE or in ${API_KEY_VARIABLE} (an operator's) or ${AGENT_KEY_VARIABLE} (an agent's).`,
  });
};

/** Keys say by how they begin whose they are, and a token by its three parts. What is neither is sent as it is. */
const credentialOf = (key: string): Pick<AgentVaultOptions, "operatorKey" | "agentKey" | "token"> => {
  if (key.startsWith("ast_agent_")) return { agentKey: key };
  if (/^[\w-]+\.[\w-]+\.[\w-]+$/.test(key)) return { token: key };
  return { operatorKey: key };
};

const readCa = ({ options, directory }: Invocation): string | undefined => {
  const file = options.text("ca");
  if (file === undefined) return undefined;
  const text = readText("--ca", resolve(directory, file));
  if (text.includes("-----BEGIN CERTIFICATE-----")) return text;
  throw usage(`${file} holds no certificate in PEM.`);
};

const readText = (option: string, path: string): string => {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    throw usage(`${option}: ${path} cannot be read (${code}).`);
  }
};

const usage = (detail: string): SidekeyError => new SidekeyError("CONFIG_USAGE", { detail });
