/**
 * A real PostgreSQL of its own: made in a temporary directory, on a free port of 127.0.0.1, with fsync and TLS on, as a user
 * that is not root. Ends with the process that started it, at the latest.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { chown, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { createTestAuthority, type TestAuthority } from "./certificates.ts";
import { choosePort } from "./ports.ts";

export type StopMode = "fast" | "immediate";

export interface PostgresServer {
  readonly port: number;
  /** A PEM file of the authority of its certificate, which is for `localhost`. */
  readonly caFile: string;
  /** Directory of its Unix socket. */
  readonly socket: string;
  /** A new database; its URL with user and password. */
  createDatabase(): Promise<string>;
  /** `immediate` is a crash: nothing is finished. */
  stop(mode: StopMode): Promise<void>;
  start(): Promise<void>;
  /** It stands still with all of its sessions, and takes no new ones. */
  pause(): void;
  resume(): void;
  /** Starts it again as a standby, whose primary is not there; `promote` makes it a primary. */
  startAsStandby(): Promise<void>;
  promote(): Promise<void>;
  close(): Promise<void>;
}

const POSTGRES_USER = "sidekey";
/** Every sign in it has a meaning in a URL. */
export const POSTGRES_PASSWORD = "c4n4ry:p@ss/w?rd#%&=";
const READY = /database system is ready to accept (?:read.only )?connections/;
const SIGNALS = { fast: "SIGINT", immediate: "SIGQUIT" } as const;

const binaries = (): string | undefined => {
  const found = spawnSync("pg_config", ["--bindir"], { encoding: "utf8" });
  const debian = "/usr/lib/postgresql";
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  return [
    ...(found.status === 0 ? [found.stdout.trim()] : []),
    ...versions.map((version) => join(debian, version, "bin")),
  ].find((directory) => existsSync(join(directory, "initdb")));
};

/** Why none can be started here; undefined = one can. With SIDEKEY_TEST_ALL=1 nothing is a reason. */
export const noPostgres = (): string | undefined => {
  if (process.env["SIDEKEY_TEST_ALL"] === "1") return undefined;
  if (binaries() === undefined) return "no PostgreSQL server here";
  return spawnSync("setpriv", ["--version"]).status === 0 ? undefined : "no setpriv here";
};

interface User {
  readonly uid: number;
  readonly gid: number;
}

/** PostgreSQL refuses to be root. */
const unprivileged = (): User | undefined => {
  if (process.getuid?.() !== 0) return undefined;
  const found = spawnSync("id", ["-u", "postgres"]).status === 0 ? "postgres" : "nobody";
  const id = (what: string): number => Number(execFileSync("id", [what, found], { encoding: "utf8" }));
  return { uid: id("-u"), gid: id("-g") };
};

let databases = 0;

export const startPostgres = async (): Promise<PostgresServer> => {
  const bin = binaries();
  if (bin === undefined) throw new Error("no PostgreSQL server here");
  const user = unprivileged();
  const root = await mkdtemp(join(tmpdir(), "sidekey-pg-"));
  const data = join(root, "data");
  const socket = join(root, "socket");
  const own = async (path: string): Promise<void> => {
    if (user !== undefined) await chown(path, user.uid, user.gid);
  };
  /** As the other user, and dead when this process is. */
  const as = (program: string, args: readonly string[]): readonly [string, readonly string[]] => [
    "setpriv",
    [
      ...(user === undefined ? [] : [`--reuid=${user.uid}`, `--regid=${user.gid}`, "--clear-groups"]),
      "--pdeathsig=QUIT",
      join(bin, program),
      ...args,
    ],
  ];
  const authority: TestAuthority = await createTestAuthority("PostgreSQL test CA");
  const { cert, key } = await authority.issue({ names: ["localhost"] });
  const port = await choosePort();
  const caFile = join(root, "ca.pem");
  const files = { password: join(root, "password"), cert: join(root, "server.pem"), key: join(root, "server.key") };
  await mkdir(socket);
  await writeFile(caFile, authority.certificatePem);
  await writeFile(files.password, POSTGRES_PASSWORD);
  await writeFile(files.cert, cert);
  await writeFile(files.key, key, { mode: 0o600 });
  for (const path of [root, socket, files.password, files.key]) await own(path);
  const init = ["-D", data, "-U", POSTGRES_USER, "-A", "scram-sha-256", `--pwfile=${files.password}`];
  const [command, args] = as("initdb", [...init, "-E", "UTF8", "--locale=C", "--no-sync"]);
  execFileSync(command, args, { stdio: ["ignore", "ignore", "inherit"], cwd: root });

  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    const settings = [
      ["listen_addresses", "127.0.0.1"],
      ["port", String(port)],
      ["unix_socket_directories", socket],
      ["fsync", "on"],
      ["ssl", "on"],
      ["ssl_cert_file", files.cert],
      ["ssl_key_file", files.key],
      ["max_connections", "100"],
      ["shared_buffers", "16MB"],
    ];
    const [program, words] = as("postgres", [
      "-D",
      data,
      ...settings.flatMap(([name, value]) => ["-c", `${name}=${value}`]),
    ]);
    const started = spawn(program, words, { stdio: ["ignore", "ignore", "pipe"], cwd: root });
    child = started;
    let log = "";
    await new Promise<void>((resolve, reject) => {
      started.stderr.on("data", (chunk: Buffer) => {
        log = (log + chunk.toString()).slice(-20_000);
        if (READY.test(log)) resolve();
      });
      started.once("exit", () => reject(new Error(`PostgreSQL ended: ${log}`)));
      started.once("error", reject);
    });
  };
  const stop = async (mode: StopMode): Promise<void> => {
    const running = child;
    child = undefined;
    if (running === undefined || running.exitCode !== null) return;
    const end = new Promise<void>((resolve) => running.once("exit", () => resolve()));
    running.kill(SIGNALS[mode]);
    await end;
  };
  /** To it and the processes of its sessions, which are each the leader of a group. */
  const signal = (name: "SIGSTOP" | "SIGCONT"): void => {
    const pid = child?.pid;
    if (pid === undefined) return;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
    for (const one of [pid, ...children]) {
      try {
        process.kill(one, name);
      } catch (error) {
        // A worker of its own (autovacuum) may have ended since they were listed.
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    }
  };
  const close = async (): Promise<void> => {
    signal("SIGCONT");
    await stop("immediate");
    await rm(root, { recursive: true, force: true });
  };
  const url = (database: string): string =>
    `postgres://${POSTGRES_USER}:${encodeURIComponent(POSTGRES_PASSWORD)}@127.0.0.1:${port}/${database}`;
  try {
    await start();
  } catch (error) {
    await close();
    throw error;
  }
  return {
    port,
    caFile,
    socket,
    async createDatabase() {
      databases += 1;
      const name = `test_${databases}`;
      await withSql(url("postgres"), (sql) => sql(`CREATE DATABASE ${name}`));
      return url(name);
    },
    stop,
    start,
    pause: () => signal("SIGSTOP"),
    resume: () => signal("SIGCONT"),
    async startAsStandby() {
      await stop("fast");
      await writeFile(join(data, "standby.signal"), "");
      await own(join(data, "standby.signal"));
      await start();
    },
    promote: () => withSql(url("postgres"), async (sql) => void (await sql("SELECT pg_promote()"))),
    close,
  };
};

export type Sql = (text: string, values?: readonly unknown[]) => Promise<readonly Record<string, unknown>[]>;

/** What anybody with the password can do to a database, past the vault. */
export const withSql = async <T>(url: string, use: (sql: Sql) => Promise<T>): Promise<T> => {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  try {
    return await use(async (text, values = []) => (await client.query(text, [...values])).rows);
  } finally {
    await client.end();
  }
};
