/**
 * `env`: the variables that take an agent through the sidecar of `start`, for a shell, a `.env` file, a Dockerfile or
 * Kubernetes. Reads no secret: an agent finds placeholders, the same as under `run`.
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { formatHost, parseHost } from "../../core/authority.ts";
import { SidekeyError } from "../../core/errors.ts";
import { packageFile } from "../../core/package.ts";
import type { StatusReport } from "../../sidecar/admin/report.ts";
import type { ListenAddress, SidecarConfig } from "../../sidecar/app/config/config.ts";
import { askSidecar } from "../admin-client.ts";
import { CONFIG_OPTION, type CommandSpec, type Invocation, JSON_OPTION } from "../command.ts";
import { loadRequiredConfig } from "../context.ts";
import { FORMATS, formatOf, isFormat } from "../env-formats.ts";
import { EXIT_OK } from "../exit.ts";

export const env: CommandSpec = {
  name: "env",
  summary: "print the variables that take an agent through the sidecar of 'start'",
  options: [
    { flags: "--format <format>", summary: `${FORMATS.join(", ")} (default: shell)`, choices: FORMATS },
    {
      flags: "--ca <dir>",
      summary: "where the agent finds ca.pem and ca-bundle.pem (default: where 'start' writes them)",
    },
    { flags: "--proxy <url>", summary: "how the agent reaches the proxy (default: where it listens)" },
    { flags: "--gateway", summary: "base URLs of the gateway instead of the proxy, for the presets that have one" },
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  examples: [
    'eval "$(sidekey env)"',
    "sidekey env --format dotenv > agent.env",
    "sidekey env --format docker --proxy http://sidekey:7070 --ca /run/sidekey",
    "sidekey env --format kubernetes --ca /run/sidekey",
  ],
  async run(invocation) {
    const { options, terminal } = invocation;
    const config = await loadRequiredConfig(invocation);
    const name = options.text("format") ?? "shell";
    const format = formatOf[isFormat(name) ? name : "shell"];
    const isGateway = options.flag("gateway");
    const variables = isGateway ? await gatewayVariables(invocation, config) : await proxyVariables(invocation, config);
    if (options.flag("json")) {
      terminal.printJson(variables);
      return EXIT_OK;
    }
    const { nodeOption } = await import("../run/environment.ts");
    const appended = isGateway ? undefined : nodeOption(PRELOAD);
    terminal.print(format.print({ variables, nodeOption: format.appends ? appended : undefined }));
    if (!format.appends && appended !== undefined) {
      terminal.note(
        `NODE_OPTIONS is left out: only a shell can add to it. For fetch of Node before 22.21: ${appended}`,
      );
    }
    return EXIT_OK;
  },
};

const PRELOAD = packageFile("dist", "cli", "run", "preload.cjs");

const proxyVariables = async (
  invocation: Invocation,
  config: SidecarConfig,
): Promise<Readonly<Record<string, string>>> => {
  const { directory, options, terminal } = invocation;
  const { agentVariables } = await import("../run/environment.ts");
  const { routeEnvironments } = await import("../run/from-config.ts");
  const written = options.text("ca");
  const home = written === undefined ? (config.tls.export ?? config.state) : resolve(directory, written);
  const [ca, bundle] = [join(home, "ca.pem"), join(home, "ca-bundle.pem")];
  // One that is named is the agent's own place, which need not be here.
  if (written === undefined && !existsSync(ca)) terminal.note(`${ca} is not there yet: 'sidekey start' makes it`);
  const proxyUrl = proxyUrlOf(options.text("proxy")) ?? (await urlOf("proxy", config.listen.proxy, invocation));
  return agentVariables({ proxyUrl, ca, bundle, routes: routeEnvironments(config) });
};

const gatewayVariables = async (
  invocation: Invocation,
  config: SidecarConfig,
): Promise<Readonly<Record<string, string>>> => {
  const { options } = invocation;
  if (options.text("proxy") !== undefined || options.text("ca") !== undefined) {
    throw usage("With --gateway an agent needs neither a proxy nor a CA.", "Leave out --proxy and --ca.");
  }
  const { createPresetLibrary } = await import("../../sidecar/app/config/presets.ts");
  const presets = createPresetLibrary();
  const url = await urlOf("gateway", config.listen.gateway, invocation);
  const variables: Record<string, string> = {};
  for (const { name, preset: used, gateway, variables: names, placeholder } of config.routes) {
    const preset = used === undefined ? undefined : presets.get(used);
    // A base URL has the path of the provider's own origin: somewhere else it would be a guess.
    const isOwn = preset?.match.some(
      ({ host }) => host.kind === "exact" && host.authority.key === gateway?.authority.key,
    );
    if (preset === undefined || isOwn !== true || Object.keys(preset.base_url).length === 0) continue;
    for (const [variable, path] of Object.entries(preset.base_url)) variables[variable] = `${url}/${name}${path}`;
    for (const variable of names) variables[variable] = placeholder;
  }
  if (Object.keys(variables).length > 0) return variables;
  throw usage("No route of this file has a preset with a base URL.", "See which have one: docs/presets.md.");
};

/** Errors: CONFIG_USAGE. */
const proxyUrlOf = (text: string | undefined): string | undefined => {
  if (text === undefined) return undefined;
  const [, host = "", port = ""] = /^http:\/\/(.+?):([1-9][0-9]{0,4})\/?$/.exec(text) ?? [];
  const parsed = parseHost(host);
  if (parsed !== undefined && Number(port) <= 65_535) return `http://${formatHost(parsed)}:${port}`;
  throw usage("--proxy is not http://HOST:PORT.", "For example --proxy http://sidekey:7070");
};

/** Where an agent on this machine reaches a listener. Errors: CONFIG_USAGE, CONFIG_NOT_RUNNING (a free port: it is asked). */
const urlOf = async (
  which: "proxy" | "gateway",
  address: ListenAddress | undefined,
  invocation: Invocation,
): Promise<string> => {
  const hint =
    which === "proxy"
      ? "Write listen: { proxy: 127.0.0.1:7070 }, or use --gateway."
      : "Write listen: { gateway: 127.0.0.1:7071 }";
  if (address === undefined) throw usage(`listen.${which} is off.`, hint);
  if (address.kind === "unix") throw usage(`listen.${which} is a unix socket, which no variable names.`, hint);
  const port = address.port === 0 ? await askPort(which, invocation) : address.port;
  const host = LOOPBACK_OF[address.host] ?? address.host;
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
};

/** Every address of this machine is, to an agent here, the loopback one. */
const LOOPBACK_OF: Readonly<Record<string, string>> = { "0.0.0.0": "127.0.0.1", "::": "::1" };

const askPort = async (which: "proxy" | "gateway", invocation: Invocation): Promise<number> => {
  const { body } = await askSidecar(invocation, "GET", "/status");
  const { listeners } = body as StatusReport;
  return Number(listeners[which]?.split(":").at(-1));
};

const usage = (detail: string, hint: string): SidekeyError => new SidekeyError("CONFIG_USAGE", { detail, hint });
