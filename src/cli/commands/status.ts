/** `status`: what the running sidecar of a file says about itself. Names and numbers; it knows no value to print. */
import { SidekeyError } from "../../core/errors.ts";
import type { StatusReport } from "../../sidecar/admin/report.ts";
import { type AdminAnswer, askSidecar } from "../admin-client.ts";
import { CONFIG_OPTION, type CommandSpec, type Invocation, JSON_OPTION } from "../command.ts";
import { EXIT_FAILED, EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { table } from "../table.ts";

export const status: CommandSpec = {
  name: "status",
  summary: "show the running sidecar: its listeners, its file, the state of each secret",
  options: [
    CONFIG_OPTION,
    { flags: "--ready", summary: "only whether it is ready: exit code 0, or 1 with the reasons" },
    JSON_OPTION,
  ],
  examples: ["sidekey status", "sidekey status --ready && echo go", "sidekey status --json"],
  async run(invocation) {
    refuseInsideRun("status", invocation);
    const { options, terminal } = invocation;
    if (options.flag("ready")) return ready(invocation);
    const { status: code, body } = await askSidecar(invocation, "GET", "/status");
    if (code !== 200) throw new SidekeyError("INTERNAL", { detail: "See the sidecar's log." });
    if (options.flag("json")) terminal.printJson(body);
    else terminal.print(describe(body as StatusReport));
    return EXIT_OK;
  },
};

const ready = async (invocation: Invocation): Promise<number> => {
  const { options, terminal } = invocation;
  const { status: code, body }: AdminAnswer = await askSidecar(invocation, "GET", "/readyz");
  const isReady = code === 200;
  if (options.flag("json")) terminal.printJson(body);
  else if (isReady) terminal.print("ready");
  else terminal.print(`not ready: ${(body as { readonly reasons?: readonly string[] }).reasons?.join(", ") ?? code}`);
  return isReady ? EXIT_OK : EXIT_FAILED;
};

const describe = ({ version, pid, uptime, listeners, file, generation, secrets }: StatusReport): string => {
  const open = Object.entries(listeners).filter(([, address]) => address !== null);
  const lines = [
    `sidekey ${version}, process ${pid}, up ${duration(uptime)}`,
    `file     ${file}, generation ${generation}`,
    ...open.map(([name, address]) => `${name.padEnd(9)}${address}`),
  ];
  if (secrets.length === 0) return lines.join("\n");
  const rows = secrets.map(({ reference, version: of, age, state, routes }) => [
    reference,
    of ?? "-",
    age === null ? "-" : duration(age),
    state,
    routes.join(", "),
  ]);
  return [...lines, "", table(["SECRET", "VERSION", "AGE", "STATE", "ROUTES"], rows)].join("\n");
};

const UNITS = [
  ["d", 86_400],
  ["h", 3_600],
  ["m", 60],
  ["s", 1],
] as const;

/** The two largest units that say something: `1d 2h`. `s` */
const duration = (seconds: number): string => {
  const parts: string[] = [];
  let rest = seconds;
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${count}${unit}`);
  }
  return parts.slice(0, 2).join(" ") || "0s";
};
