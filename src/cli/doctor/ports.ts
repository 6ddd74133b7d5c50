/** Where the file wants to listen: whether it could, or who is there already. Binds and lets go; serves nothing. */
import { existsSync } from "node:fs";
import { connect, createServer } from "node:net";
import { dirname } from "node:path";
import { systemCode } from "../../core/whole-file.ts";
import type { StatusReport } from "../../sidecar/admin/report.ts";
import type { SidecarConfig } from "../../sidecar/app/config/config.ts";
import { askSidecar } from "../admin-client.ts";
import type { Invocation } from "../command.ts";
import { type Finding, finding } from "./finding.ts";

const NAMES = ["proxy", "gateway", "health", "admin"] as const;
type Address = NonNullable<SidecarConfig["listen"]["proxy"]>;

/** A socket that takes longer than this to answer is no help to anybody. `ms` */
const ANSWER_MS = 5_000;

export const checkPorts = async (invocation: Invocation, { listen }: SidecarConfig): Promise<readonly Finding[]> => {
  const running = await runningSidecar(invocation);
  const found: Finding[] = [];
  for (const name of NAMES) {
    const address = listen[name];
    if (address === undefined) continue;
    const what = `listen.${name}`;
    const served = running?.listeners[name];
    if (served !== undefined && served !== null && isSame(address, served)) {
      found.push(finding("ok", what, `${served}, served by the sidecar that runs (process ${running?.pid})`));
    } else found.push(address.kind === "tcp" ? await checkTcp(what, address) : await checkUnix(what, address.path));
  }
  return found;
};

/** Undefined when none answers for this file. */
const runningSidecar = async (invocation: Invocation): Promise<StatusReport | undefined> => {
  try {
    const { status, body } = await askSidecar(invocation, "GET", "/status", ANSWER_MS);
    return status === 200 ? (body as StatusReport) : undefined;
  } catch {
    // No sidecar runs for this file, which is no fault.
    return undefined;
  }
};

const textOf = (address: Address): string => {
  if (address.kind === "unix") return `unix:${address.path}`;
  return `${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
};

/** Port 0 in the file is any port of the one that runs. */
const isSame = (address: Address, served: string): boolean =>
  textOf(address) === served ||
  (address.kind === "tcp" && address.port === 0 && served.startsWith(textOf(address).slice(0, -1)));

const checkTcp = async (what: string, address: Extract<Address, { readonly kind: "tcp" }>): Promise<Finding> => {
  const text = textOf(address);
  const code = await tryToListen(address.host, address.port);
  if (code === undefined) return finding("ok", what, `${text} is free`);
  if (code === "EADDRINUSE") {
    return finding("fail", what, `${text} is taken by another program`, "Stop it, or give another address or port 0.");
  }
  const hint =
    code === "EADDRNOTAVAIL" ? "No interface of this machine has this address." : "Give another address or port.";
  return finding("fail", what, `${text} cannot be listened on (${code})`, hint);
};

const tryToListen = (host: string, port: number): Promise<string | undefined> =>
  new Promise((done) => {
    const server = createServer();
    server.once("error", (error) => done(systemCode(error)));
    server.listen({ host, port, exclusive: true }, () => server.close(() => done(undefined)));
  });

const checkUnix = async (what: string, path: string): Promise<Finding> => {
  const text = `unix:${path}`;
  if (!existsSync(path)) {
    const isThere = existsSync(dirname(path)) || what === "listen.admin";
    if (isThere) return finding("ok", what, `${text} is free`);
    return finding("fail", what, `the directory of ${text} is not there`, `mkdir -p ${dirname(path)}`);
  }
  const code = await tryToConnect(path);
  if (code === "ECONNREFUSED") return finding("ok", what, `${text} was left behind, and will be taken over`);
  return finding("fail", what, `${text} is in use by another program`, "Stop it, or give another path.");
};

const tryToConnect = (path: string): Promise<string | undefined> =>
  new Promise((done) => {
    const socket = connect(path);
    const end = (code: string | undefined): void => {
      socket.destroy();
      done(code);
    };
    socket.setTimeout(ANSWER_MS, () => end("ETIMEDOUT"));
    socket.once("connect", () => end(undefined));
    socket.once("error", (error) => end(systemCode(error)));
  });
