/** What the state directory holds, opened as the sidecar would: CA, vault, audit. Makes nothing that is not there. */

import { randomUUID } from "node:crypto";
import { closeSync, constants, existsSync, openSync, unlinkSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { systemClock } from "../../core/clock.ts";
import { toSidekeyError } from "../../core/errors.ts";
import { systemCode } from "../../core/whole-file.ts";
import type { SidecarConfig } from "../../sidecar/app/config/config.ts";
import type { Invocation } from "../command.ts";
import { type Finding, failed, finding } from "./finding.ts";

type Environment = Invocation["environment"];

export const checkCa = async ({ state }: SidecarConfig): Promise<readonly Finding[]> => {
  const { readCurrentKeys } = await import("../../sidecar/tls/certificate-files.ts");
  const { endsSoon } = await import("../../sidecar/app/ca-life.ts");
  try {
    const keys = await readCurrentKeys(state);
    if (keys === undefined) {
      return [finding("info", "CA", "none yet: 'sidekey start' makes it, and 'sidekey run' one for each run")];
    }
    const end = Date.parse(keys.certificate.validTo);
    const now = systemClock.now();
    const text = `key and certificate belong together, valid to ${new Date(end).toISOString().slice(0, 10)}`;
    if (now < Date.parse(keys.certificate.validFrom)) {
      return [
        finding("fail", "CA", `valid from ${keys.certificate.validFrom} only`, "Check the clock of this machine."),
      ];
    }
    if (now >= end) return [finding("fail", "CA", `expired ${keys.certificate.validTo}`, "sidekey ca rotate")];
    return [
      endsSoon(end, now) ? finding("warn", "CA", text, "It ends soon: sidekey ca rotate") : finding("ok", "CA", text),
    ];
  } catch (error) {
    return [failed("CA", toSidekeyError(error))];
  }
};

/** Every embedded vault of the file: whether its key opens it, and whether it has what the routes name. */
export const checkVaults = async (config: SidecarConfig, environment: Environment): Promise<readonly Finding[]> => {
  const found: Finding[] = [];
  for (const { name, fields } of config.sources) {
    if (fields.kind !== "local") continue;
    const directory = fields.path === undefined ? join(config.state, "vault") : resolve(config.baseDir, fields.path);
    found.push(...(await checkVault({ name, directory, key: fields.key }, config, environment)));
  }
  return found;
};

interface LocalVault {
  readonly name: string;
  readonly directory: string;
  readonly key: Extract<SidecarConfig["sources"][number]["fields"], { readonly kind: "local" }>["key"];
}

const checkVault = async (
  { name, directory, key }: LocalVault,
  config: SidecarConfig,
  environment: Environment,
): Promise<readonly Finding[]> => {
  const what = `vault ${name}`;
  const wanted = [
    ...new Set(
      config.routes.flatMap(({ injections }) =>
        injections.flatMap(({ ref }) => (ref.source === name ? [ref.path] : [])),
      ),
    ),
  ];
  const { storeExists } = await import("../../vault/barrier/key.ts");
  if (!(await storeExists(directory))) {
    const text = `${directory}: none yet, made with the first secret`;
    return [
      wanted.length === 0
        ? finding("info", what, text)
        : finding("warn", what, `${text}; routes need ${wanted.join(", ")}`, setHint(wanted)),
    ];
  }
  const { openVault, vaultKeySource } = await import("../../vault/index.ts");
  const { baseDir, state: stateDir } = config;
  try {
    const keys = vaultKeySource({ credential: key, baseDir, stateDir, environment });
    const vault = await openVault({ directory, keys, clock: systemClock });
    try {
      const paths = new Set((await vault.secrets.list()).map(({ path }) => path));
      const missing = wanted.filter((path) => !paths.has(path));
      const found = [finding("ok", what, `opens, ${paths.size} ${paths.size === 1 ? "secret" : "secrets"}`)];
      if (missing.length > 0) {
        found.push(finding("warn", what, `has no ${missing.join(", ")}, which routes need`, setHint(missing)));
      }
      if (vault.keyCount > 1) {
        const text = `has ${vault.keyCount} keys: a rekey was cut short or is under way, or one was put in and not taken up`;
        found.push(finding("warn", what, text, `sidekey vault rekey --source ${name}`));
      }
      return found;
    } finally {
      await vault.close();
    }
  } catch (error) {
    return [failed(what, toSidekeyError(error))];
  }
};

const setHint = ([path = ""]: readonly string[]): string => `printf %s "$KEY" | sidekey secret set ${path}`;

/** Opened for writing and closed again: that a disk is full or read-only is better known before. */
export const checkAudit = async ({ audit, state }: SidecarConfig): Promise<readonly Finding[]> => {
  const found: Finding[] = [];
  if (existsSync(audit.key)) {
    const { loadAuditKey } = await import("../../audit/index.ts");
    try {
      loadAuditKey(audit.key);
      found.push(finding("ok", "audit key", "is there, and nobody else's"));
    } catch (error) {
      found.push(failed("audit key", toSidekeyError(error)));
    }
  }
  const directory = dirname(audit.path);
  if (!existsSync(audit.path) && !existsSync(directory)) {
    const text = `${audit.path}: none yet`;
    if (directory === state) return [...found, finding("info", "audit", text)];
    return [...found, finding("fail", "audit", `${directory} is not there`, `mkdir -p ${directory}`)];
  }
  const reason = existsSync(audit.path) ? whyNotOpened(audit.path) : whyNotMade(directory);
  found.push(
    reason === undefined
      ? finding("ok", "audit", `${audit.path} can be written`)
      : finding(
          "fail",
          "audit",
          `${audit.path} cannot be written (${reason})`,
          "Without it every call is refused (AUDIT_UNAVAILABLE).",
        ),
  );
  return found;
};

const { O_APPEND, O_CREAT, O_EXCL, O_NONBLOCK, O_WRONLY } = constants;

const whyNotOpened = (path: string): string | undefined => {
  try {
    closeSync(openSync(path, O_WRONLY | O_APPEND | O_NONBLOCK));
    return undefined;
  } catch (error) {
    return systemCode(error);
  }
};

const whyNotMade = (directory: string): string | undefined => {
  const probe = join(directory, `.doctor-${randomUUID()}`);
  try {
    closeSync(openSync(probe, O_WRONLY | O_CREAT | O_EXCL, 0o600));
    unlinkSync(probe);
    return undefined;
  } catch (error) {
    return systemCode(error);
  }
};
