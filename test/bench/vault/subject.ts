/** What bench:vault asks of a vault: start alone on the subject's core, say how each operation is called, end. */
import type { Launcher, RunningProcess } from "../processes.ts";
import type { Database } from "./database.ts";
import type { Exchange } from "./load.ts";

/** `read`: a value by a scoped token. `issue`: a token that reads one secret. `redeem`: a value by a bound token and a fresh proof. `write`: a new version. */
export const OPERATIONS = ["read", "issue", "redeem", "write"] as const;
export type Operation = (typeof OPERATIONS)[number];

/** As many secrets; requests go round them. */
export const SECRETS = 100;
/** Bytes of each value. */
const VALUE_LENGTH = 64;

export interface VaultBench {
  /** Gone afterwards. */
  readonly directory: string;
  readonly launcher: Launcher;
  /** Flags for Node. */
  readonly nodeArguments: readonly string[];
  /** Undefined: PostgreSQL cannot run here. */
  readonly database: Database | undefined;
}

export interface RunningVault {
  readonly process: RunningProcess;
  /** Of the server itself, whose CPU time counts. */
  readonly pid: number;
  readonly port: number;
  /** Undefined: it has no such operation. */
  exchange(operation: Operation): Exchange | undefined;
  /** Throws where its audit log holds nothing: a figure without the audit would flatter. */
  close(): Promise<void>;
}

export interface VaultSubject {
  readonly name: string;
  readonly storage: "embedded" | "postgres";
  readonly isReference: boolean;
  /** Installs what it needs; why it cannot run here, if so. */
  unavailable(bench: VaultBench): string | undefined;
  start(bench: VaultBench): Promise<RunningVault>;
}

export const secretValue = (index: number): string => `sk-bench-${index}-`.padEnd(VALUE_LENGTH, "x");

export const eachSecret = <T>(build: (index: number) => T): readonly T[] =>
  Array.from({ length: SECRETS }, (_, index) => build(index));

/** One call while a vault is set up. */
export const callJson = async (
  port: number,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  body?: unknown,
  // biome-ignore lint/suspicious/noExplicitAny: answers of two programs, looked into for one field each
): Promise<any> => {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    headers: { ...headers, ...(body !== undefined && { "content-type": "application/json" }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text.slice(0, 300)}`);
  return text === "" ? undefined : JSON.parse(text);
};
