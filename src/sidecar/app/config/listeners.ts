/** The addresses of `listen`, checked against each other and against who could reach them (ruling 19). */
import { join, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { isLocalListener, type ListenAddress, MAX_SOCKET_PATH } from "../../../config/addresses.ts";
import type { Finding, KeyPath } from "../../../config/problem.ts";
import type { SidecarConfig } from "./model.ts";
import type { RootFields } from "./schema.ts";

export interface ListenerChecks {
  readonly baseDir: string;
  readonly state: string;
  report(finding: Finding): void;
  warn(finding: Finding): void;
}

/** Of the admin socket, in the state directory. */
export const ADMIN_SOCKET = "admin.sock";

type Name = "proxy" | "gateway" | "health" | "admin";

export const buildListeners = ({ listen }: RootFields, checks: ListenerChecks): SidecarConfig["listen"] => {
  const { names, clients } = listen;
  const build = (name: Name): ListenAddress | undefined => buildListener(listen[name], name, clients, checks);
  const built = { proxy: build("proxy"), gateway: build("gateway"), health: build("health") };
  const admin = listen.admin === undefined ? usualAdmin(checks) : build("admin");
  if (built.proxy === undefined && built.gateway === undefined) {
    checks.report({ path: ["listen"], message: "leaves no way in: proxy and gateway are both off" });
  }
  checkDistinct({ ...built, admin }, checks);
  return { ...built, admin, names, clients };
};

/** Nothing in this version authenticates callers, so the file names who may come from other machines. */
const buildListener = (
  address: ListenAddress | undefined,
  name: Name,
  clients: SidecarConfig["listen"]["clients"],
  { baseDir, report }: ListenerChecks,
): ListenAddress | undefined => {
  if (address === undefined) return undefined;
  const path: KeyPath = ["listen", name];
  if (!isLocalListener(address) && clients.length === 0) {
    report({
      path,
      message: "would listen beyond this machine, where nothing tells callers apart",
      hint: "Use 127.0.0.1, [::1] or unix:PATH, or name who may connect: listen.clients: [10.0.0.0/8].",
    });
  }
  if (address.kind !== "unix") return address;
  const absolute = resolve(baseDir, address.path);
  if (isTooLong(absolute)) {
    report({ path, message: `the socket's absolute path is longer than ${MAX_SOCKET_PATH} bytes` });
  }
  return { kind: "unix", path: absolute };
};

/** Nobody asked for it, so a state directory far down the tree is no reason to refuse the file. */
const usualAdmin = ({ state, warn }: ListenerChecks): ListenAddress | undefined => {
  const path = join(state, ADMIN_SOCKET);
  if (!isTooLong(path)) return { kind: "unix", path };
  warn({
    path: ["listen"],
    message: `the admin socket is off: its path in the state directory is longer than ${MAX_SOCKET_PATH} bytes`,
    hint: "For 'sidekey status' and 'sidekey reload', give it a shorter one: listen.admin: unix:PATH",
  });
  return undefined;
};

const isTooLong = (path: string): boolean => Buffer.byteLength(path) > MAX_SOCKET_PATH;

const HINTS: Readonly<Record<string, string>> = {
  gateway: "Give each its own; the gateway's usual port is 7071.",
  health: "Give each its own; the usual port of health is 7072.",
  admin: "Give each a socket of its own.",
};

const checkDistinct = (
  addresses: Readonly<Record<Name, ListenAddress | undefined>>,
  { report }: ListenerChecks,
): void => {
  const seen: [string, ListenAddress][] = [];
  for (const [name, address] of Object.entries(addresses)) {
    if (address === undefined || isAnyPort(address)) continue;
    const other = seen.find(([, taken]) => isDeepStrictEqual(taken, address));
    if (other === undefined) seen.push([name, address]);
    else {
      const hint = HINTS[name];
      report({
        path: ["listen", name],
        message: `is the address of listen.${other[0]}`,
        ...(hint !== undefined && { hint }),
      });
    }
  }
};

const isAnyPort = (address: ListenAddress): boolean => address.kind === "tcp" && address.port === 0;
