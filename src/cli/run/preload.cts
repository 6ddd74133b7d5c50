/**
 * Loaded with --require into every Node process of an agent: makes the built-in fetch use the proxy of the environment,
 * where Node does not do that itself, and keeps Node 22 from warning that its own way is experimental. It costs nothing
 * until the first fetch. It must never throw into the agent, and holds no secrets: the agent can read all of it.
 */
type Fetch = typeof globalThis.fetch;
type Undici = typeof import("undici");

/** Where every undici, the one inside Node too, keeps the dispatcher that fetch uses. */
const GLOBAL_DISPATCHER = Symbol.for("undici.globalDispatcher.1");

/**
 * Node 24, and 22 from 22.21, read the proxy variables for fetch when NODE_USE_ENV_PROXY is 1. From 26 on the undici inside
 * takes no dispatcher of ours: requests with a body would fail.
 */
const nodeDoesIt = (): boolean => {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major >= 26) return true;
  return process.env["NODE_USE_ENV_PROXY"] === "1" && (major >= 24 || (major === 22 && minor >= 21));
};

const isProxied = (): boolean => (process.env["HTTPS_PROXY"] ?? process.env["HTTP_PROXY"] ?? "") !== "";

/** An agent that has chosen a dispatcher of its own keeps it; undici's plain default is nobody's choice. */
const isChosen = (): boolean => {
  const present: unknown = Reflect.get(globalThis, GLOBAL_DISPATCHER);
  return typeof present === "object" && present !== null && present.constructor.name !== "Agent";
};

const attempt = (work: () => void): boolean => {
  try {
    work();
    return true;
  } catch {
    // Without us the agent's fetch goes out as it always did, and carries no key.
    return false;
  }
};

const useProxy = (): void => {
  if (isChosen()) return;
  const { EnvHttpProxyAgent, setGlobalDispatcher }: Undici = require("undici");
  // Without a tunnel for http: a request in clear goes in absolute form, as proxies have always had it.
  setGlobalDispatcher(new EnvHttpProxyAgent({ proxyTunnel: false }));
};

const wrapFetch = (): void => {
  const own = Object.getOwnPropertyDescriptor(globalThis, "fetch");
  const original: Fetch | undefined = globalThis.fetch;
  if (own?.configurable !== true || typeof original !== "function") return;
  let first = true;
  const wrapper = function fetch(...call: Parameters<Fetch>): ReturnType<Fetch> {
    if (first) {
      first = false;
      attempt(useProxy);
      attempt(() => {
        if (globalThis.fetch === wrapper) Object.defineProperty(globalThis, "fetch", own);
      });
    }
    return original(...call);
  };
  const { enumerable = true } = own;
  Object.defineProperty(globalThis, "fetch", { value: wrapper, writable: true, configurable: true, enumerable });
};

/** The code of the warning that the undici inside Node 22 gives at start-up, fetch or no fetch. */
const EXPERIMENTAL = "UNDICI-EHPA";

/**
 * Takes the first such warning, which a program that is none the wiser would have on its standard error, and then puts
 * Node's own `emit` back; at the latest when what Node queued at its start is done. `--disable-warning` would say the
 * same, but an older Node does not start with it in NODE_OPTIONS. A worker thread has warned before it loads this.
 */
const takeWarning = (): void => {
  const own = Object.getOwnPropertyDescriptor(process, "emit");
  const original = process.emit;
  let isTaken = false;
  const restore = (): void => {
    isTaken = true;
    if (process.emit !== wrapper) return;
    if (own === undefined) Reflect.deleteProperty(process, "emit");
    else Object.defineProperty(process, "emit", own);
  };
  const wrapper = function (this: unknown, ...call: unknown[]): boolean {
    const [event, warning] = call;
    if (isTaken || event !== "warning" || !(warning instanceof Error)) return Reflect.apply(original, this, call);
    if (!("code" in warning) || warning.code !== EXPERIMENTAL) return Reflect.apply(original, this, call);
    attempt(restore);
    return true;
  };
  Object.defineProperty(process, "emit", { value: wrapper, writable: true, configurable: true });
  // The warning is queued after this module has run, and so before what the first of these two queues.
  process.nextTick(() => process.nextTick(attempt, restore));
};

if (isProxied()) attempt(nodeDoesIt() ? takeWarning : wrapFetch);
