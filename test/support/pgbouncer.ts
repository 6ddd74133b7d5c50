/** A real pgbouncer in front of a database, on a free port of 127.0.0.1, until it is closed or this process ends. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { choosePort } from "./ports.ts";

/** Why none can be started here; undefined = one can. With SIDEKEY_TEST_ALL=1 nothing is a reason. */
export const noPgbouncer = (): string | undefined => {
  if (process.env["SIDEKEY_TEST_ALL"] === "1") return undefined;
  return spawnSync("pgbouncer", ["--version"], { env: pathWithSbin() }).status === 0 ? undefined : "no pgbouncer here";
};

/** Debian keeps it where only root looks. */
const pathWithSbin = (): NodeJS.ProcessEnv => ({ ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin` });

/** `url`: of the database. The same URL by way of the pooler. */
export const startPgbouncer = async (
  url: string,
  mode: "session" | "transaction" | "statement",
): Promise<{ readonly url: string; close(): Promise<void> }> => {
  const { username, password, hostname, port: serverPort } = new URL(url);
  const root = await mkdtemp(join(tmpdir(), "sidekey-pgb-"));
  await chmod(root, 0o755);
  const port = await choosePort();
  const [users, config] = [join(root, "users.txt"), join(root, "pgbouncer.ini")];
  await writeFile(users, `"${username}" "${decodeURIComponent(password)}"\n`);
  await writeFile(
    config,
    [
      "[databases]",
      `* = host=${hostname} port=${serverPort} pool_size=20`,
      "[pgbouncer]",
      "listen_addr=127.0.0.1",
      `listen_port=${port}`,
      "unix_socket_dir=",
      "auth_type=plain",
      `auth_file=${users}`,
      `pool_mode=${mode}`,
      "",
    ].join("\n"),
  );
  // It refuses to be root, as PostgreSQL does.
  const isRoot = process.getuid?.() === 0;
  const id = (what: string): string => execFileSync("id", [what, "nobody"], { encoding: "utf8" }).trim();
  const who = isRoot ? [`--reuid=${id("-u")}`, `--regid=${id("-g")}`, "--clear-groups"] : [];
  const child: ChildProcess = spawn("setpriv", [...who, "--pdeathsig=KILL", "pgbouncer", "-q", config], {
    stdio: "ignore",
    env: pathWithSbin(),
  });
  const end = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const through = new URL(url);
  through.hostname = "127.0.0.1";
  through.port = String(port);
  while (child.exitCode === null && !(await isOpen(port))) await pause(20);
  return {
    url: through.href,
    async close() {
      child.kill("SIGKILL");
      await end;
      await rm(root, { recursive: true, force: true });
    },
  };
};

const isOpen = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true));
    socket.once("error", () => resolve(false));
    socket.once("close", () => socket.destroy());
    socket.once("connect", () => socket.destroy());
  });
