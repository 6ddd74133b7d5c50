/** The PostgreSQL of both vaults: one server on the other core, a database of its own for each start of a subject. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { noPostgres, startPostgres } from "../../support/postgres.ts";
import { hasProgram, OTHER_CORE } from "../processes.ts";

export interface Database {
  /** Of the server, which starts one process for each connection. */
  readonly pid: number;
  /** URL of a new, empty one. */
  create(): Promise<string>;
  close(): Promise<void>;
}

export const noDatabase = noPostgres;

export const startDatabase = async (): Promise<Database> => {
  const server = await startPostgres();
  const pid = Number(readFileSync(`${server.socket}/.s.PGSQL.${server.port}.lock`, "latin1").split("\n")[0]);
  // What it starts from here on stays there.
  if (hasProgram("taskset")) execFileSync("taskset", ["-acp", String(OTHER_CORE), String(pid)], { stdio: "ignore" });
  return { pid, create: () => server.createDatabase(), close: () => server.close() };
};
