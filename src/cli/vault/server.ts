/**
 * `--vault URL`: the same commands against a vault server. Its key comes from a file or a variable, never from an argument,
 * and only what the person names is asked and trusted.
 */
import type { AgentVault, AgentVaultOptions } from "../../client/index.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { Invocation, OptionSpec } from "../command.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { AGENT_KEY_VARIABLE, API_KEY_VARIABLE, readKey, readTls } from "./server-files.ts";
import { inWordsOf } from "./server-words.ts";

/** For every command that works on a vault, here or on a server. */
export const SERVER_OPTIONS: readonly OptionSpec[] = [
  { flags: "--vault <url>", summary: "a vault server, in place of the vault of this machine" },
  {
    flags: "--key-file <file>",
    summary: `its key, with --vault (else $${API_KEY_VARIABLE}, else $${AGENT_KEY_VARIABLE})`,
  },
  { flags: "--ca <file>", summary: "CA certificates to trust in place of the system's, with --vault (PEM)" },
  { flags: "--cert <file>", summary: "a certificate for a server that asks its clients for one, with --vault (PEM)" },
  { flags: "--cert-key <file>", summary: "the private key of --cert (PEM)" },
];

/** Whether the command is to ask a server. Errors: CONFIG_USAGE for options that do not go together. */
export const asksServer = ({ options }: Pick<Invocation, "options">): boolean => {
  const isAsked = options.text("vault") !== undefined;
  if (isAsked && options.text("source") !== undefined) {
    throw usage("--source names a vault of this machine, and --vault one elsewhere; give one of them.");
  }
  for (const name of ["key-file", "ca", "cert", "cert-key"]) {
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
  const key = await readKey(invocation);
  const vault = new Client({ address, ...credentialOf(key.text), ...(await readTls(invocation)) });
  try {
    return await use(vault);
  } catch (error) {
    throw inWordsOf({ command, named: invocation.parameters[0], address, keyFrom: key.from }, error);
  } finally {
    vault.close();
  }
};

/** Keys say by how they begin whose they are, and a token by its three parts. What is neither is sent as it is. */
const credentialOf = (key: string): Pick<AgentVaultOptions, "operatorKey" | "agentKey" | "token"> => {
  if (key.startsWith("ast_agent_")) return { agentKey: key };
  if (/^[\w-]+\.[\w-]+\.[\w-]+$/.test(key)) return { token: key };
  return { operatorKey: key };
};

const usage = (detail: string): SidekeyError => new SidekeyError("CONFIG_USAGE", { detail });
