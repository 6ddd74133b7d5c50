import { describe, expect, it } from "vitest";
import { refuseOpenProcess, refuseUntrustedTls, shutReports, splitOptions } from "../../../src/cli/guard.ts";
import { isSidekeyError } from "../../../src/core/errors.ts";

const closed = { execArgv: [], environment: {}, inspector: undefined };
const codeOf = (work: () => void): string | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    return isSidekeyError(error) ? error.code : "not coded";
  }
};

const FLAGS = [
  "--inspect",
  "--inspect=0",
  "--inspect-brk",
  "--inspect-brk=127.0.0.1:9229",
  "--inspect-wait",
  "--inspect-port=9229",
  "--debug-port=9229",
  "--heapsnapshot-signal=SIGUSR2",
  "--heapsnapshot_signal=SIGUSR2",
  "--heapsnapshot-near-heap-limit=1",
  "--heap-prof",
  "--report-on-signal",
  "--report-on-fatalerror",
  "--report-uncaught-exception",
  "--abort-on-uncaught-exception",
  "--tls-keylog=/tmp/keys",
  "--trace-tls",
  "--trace",
  "--insecure-http-parser",
];

describe("a process that opens itself to others", () => {
  it.each(FLAGS)("is refused with %s among Node's arguments", (flag) => {
    expect(codeOf(() => refuseOpenProcess({ ...closed, execArgv: [flag] }))).toBe("CONFIG_USAGE");
  });

  it.each(FLAGS)("is refused with %s in NODE_OPTIONS", (flag) => {
    const environment = { NODE_OPTIONS: `--max-old-space-size=64 ${flag}` };
    expect(codeOf(() => refuseOpenProcess({ ...closed, environment }))).toBe("CONFIG_USAGE");
  });

  it("is refused with a quoted flag", () => {
    const environment = { NODE_OPTIONS: '"--inspect"' };
    expect(codeOf(() => refuseOpenProcess({ ...closed, environment }))).toBe("CONFIG_USAGE");
  });

  it("is refused with an open inspector", () => {
    expect(codeOf(() => refuseOpenProcess({ ...closed, inspector: "ws://127.0.0.1:9229/x" }))).toBe("CONFIG_USAGE");
  });

  const printing = ["http", "HTTP", "tls", "net", "undici", "fetch", "module,https", "http*", "*"];
  const matching = ["h*", "*s", "*tt*", "s*m", "child_process", "ch*", "stream", "fs", "worker", "module, tls"];
  it.each([...printing, ...matching, "module*", "unheard-of"])("is refused with NODE_DEBUG=%s", (NODE_DEBUG) => {
    expect(codeOf(() => refuseOpenProcess({ ...closed, environment: { NODE_DEBUG } }))).toBe("CONFIG_USAGE");
  });
});

describe("a process in which Node says what it does inside", () => {
  it("is refused", () => {
    const environment = { NODE_DEBUG_NATIVE: "tls" };
    expect(codeOf(() => refuseOpenProcess({ ...closed, environment }))).toBe("CONFIG_USAGE");
  });
});

describe("an ordinary process", () => {
  it.each([
    { execArgv: ["--max-old-space-size=64", "--enable-source-maps"] },
    { environment: { NODE_OPTIONS: "--require /x/--inspect.cjs --title=--inspector" } },
    { environment: { NODE_DEBUG: "module" } },
    { environment: { NODE_DEBUG: "ESM, timer" } },
    { execArgv: ["--trace-warnings", "--trace-deprecation"] },
    { environment: { NODE_DEBUG: "" } },
  ])("is accepted: %j", (change) => {
    expect(codeOf(() => refuseOpenProcess({ ...closed, ...change }))).toBeUndefined();
  });
});

describe("refuseUntrustedTls", () => {
  it("refuses only the value that turns checks off", () => {
    expect(codeOf(() => refuseUntrustedTls({ NODE_TLS_REJECT_UNAUTHORIZED: "0" }))).toBe("CONFIG_USAGE");
    expect(codeOf(() => refuseUntrustedTls({ NODE_TLS_REJECT_UNAUTHORIZED: "1" }))).toBeUndefined();
    expect(codeOf(() => refuseUntrustedTls({}))).toBeUndefined();
  });
});

describe("shutReports", () => {
  it("turns off every report that comes by itself, and what names addresses where Node knows the switch", () => {
    const report = { reportOnSignal: true, reportOnFatalError: true, reportOnUncaughtException: true };
    shutReports(report);
    expect(report).toEqual({ reportOnSignal: false, reportOnFatalError: false, reportOnUncaughtException: false });
    const newer = { ...report, excludeNetwork: false, excludeEnv: false };
    shutReports(newer);
    expect(newer).toMatchObject({ excludeNetwork: true, excludeEnv: true });
  });
});

describe("splitOptions", () => {
  it("splits as Node does", () => {
    expect(splitOptions('--a  --require "/with space/x.cjs" --b="\\"q\\""')).toEqual([
      "--a",
      "--require",
      "/with space/x.cjs",
      '--b="q"',
    ]);
    expect(splitOptions("")).toEqual([]);
  });
});
