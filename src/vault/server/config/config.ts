/**
 * vault.yaml, from text to a checked configuration. Reports every problem of the file at once, with line and column;
 * never puts a value into one.
 */
import { dirname, join, resolve } from "node:path";
import { isLocalListener, type ListenAddress, MAX_SOCKET_PATH } from "../../../config/addresses.ts";
import { diagnose } from "../../../config/diagnose.ts";
import { parseConfigDocument } from "../../../config/document.ts";
import { compareProblems, createProblem, type Finding, formatProblem, type Problem } from "../../../config/problem.ts";
import { readConfigFile } from "../../../config/read-file.ts";
import { SidekeyError } from "../../../core/errors.ts";
import { DEFAULT_VAULT_FILE } from "./kind.ts";
import type { VaultServerConfig } from "./model.ts";
import { type VaultFileFields, vaultFileSchema } from "./schema.ts";

export { DEFAULT_VAULT_FILE, isVaultFile } from "./kind.ts";
export type * from "./model.ts";

/** What holds where there is no file. */
const DEFAULT_VAULT_TEXT = "version: 1\n";

export type VaultLoadResult =
  | { readonly config: VaultServerConfig }
  | {
      /** In the order of the file; never empty. */
      readonly problems: readonly Problem[];
    };

export interface VaultLoadOptions {
  /** As problems name it. */
  readonly file: string;
  readonly text: string;
  /** Where relative paths start; default the file's directory. */
  readonly baseDir?: string;
  /** There is none: `file` is where it would be. */
  readonly isAbsent?: boolean;
}

/** Errors: CONFIG_UNREADABLE; CONFIG_INVALID with every problem in its detail. */
export const readVaultConfig = (path: string): VaultServerConfig => {
  const read = readConfigFile(path, "Make one, with all defaults: echo 'version: 1' > vault.yaml. Or leave -c out.");
  return accepted("problem" in read ? { problems: [read.problem] } : loadVaultConfig({ file: path, text: read.text }));
};

/** All defaults, with paths from `directory`. */
export const defaultVaultConfig = (directory: string): VaultServerConfig =>
  accepted(loadVaultConfig({ file: join(directory, DEFAULT_VAULT_FILE), text: DEFAULT_VAULT_TEXT, isAbsent: true }));

const accepted = (result: VaultLoadResult): VaultServerConfig => {
  if ("config" in result) return result.config;
  throw new SidekeyError("CONFIG_INVALID", {
    detail: `\n${result.problems.map(formatProblem).join("\n")}`,
    hint: result.problems.length === 1 ? "Mend it, then start again." : "Mend them, then start again.",
  });
};

export const loadVaultConfig = (options: VaultLoadOptions): VaultLoadResult => {
  const { file, text, baseDir = dirname(resolve(file)), isAbsent = false } = options;
  const document = parseConfigDocument(text);
  const flaws = document.flaws.map((flaw) => createProblem(file, flaw.position, flaw));
  if (document.isBroken) return { problems: flaws };
  const parsed = vaultFileSchema.safeParse(document.value);
  const findings: Finding[] = [];
  const place = (finding: Finding): Problem => createProblem(file, document.locate(finding.path), finding);
  const problems = (): readonly Problem[] => [...flaws, ...findings.map(place)].sort(compareProblems);
  if (!parsed.success) {
    const diagnosis = { schema: vaultFileSchema, value: document.value, later: laterFinding };
    findings.push(...diagnose(parsed.error.issues, diagnosis));
    return { problems: problems() };
  }
  const config = assemble(parsed.data, { file, baseDir, isAbsent });
  findings.push(...check(config));
  return flaws.length + findings.length > 0 ? { problems: problems() } : { config };
};

/** `sources`: references into other vaults, of a later version. */
const laterFinding = (path: readonly (string | number)[]): Finding | undefined =>
  path.length === 1 && path[0] === "sources"
    ? { path, message: "is not in this version of sidekey", hint: "Secrets are kept in this vault itself." }
    : undefined;

const assemble = (
  fields: VaultFileFields,
  { file, baseDir, isAbsent }: { readonly file: string; readonly baseDir: string; readonly isAbsent: boolean },
): VaultServerConfig => {
  const at = (path: string): string => resolve(baseDir, path);
  const state = at(fields.state);
  const { audit, tls, storage, approvals, tokens, limits, public_url: urls = [] } = fields;
  return {
    file: isAbsent ? undefined : resolve(file),
    baseDir: resolve(baseDir),
    // `off` is a problem, below.
    listen: listenAt(fields.listen ?? { kind: "unix", path: "" }, baseDir),
    tls:
      tls === undefined
        ? undefined
        : {
            cert: at(tls.cert),
            key: at(tls.key),
            clientCa: tls.client_ca === undefined ? undefined : at(tls.client_ca),
          },
    state,
    storage:
      storage.kind === "postgres"
        ? { kind: "postgres", url: storage.url }
        : { kind: "lmdb", directory: storage.path === undefined ? join(state, "vault") : at(storage.path) },
    key: fields.key,
    audit: {
      path: audit.path === undefined ? join(state, "vault-audit.jsonl") : at(audit.path),
      sync: audit.sync,
      maxSize: audit.max_size,
      keep: audit.keep,
      key: audit.key === undefined ? join(state, "audit.key") : at(audit.key),
    },
    tokens: { defaultTtlMs: tokens.default_ttl, maxTtlMs: tokens.max_ttl },
    approvals: {
      expireMs: approvals.expire,
      sensitive: approvals.sensitive,
      critical: approvals.critical,
      webhook: approvals.webhook,
    },
    limits: {
      requestsPerMinute: limits.requests_per_minute,
      failuresPerMinute: limits.failures_per_minute,
      body: limits.body,
      connections: limits.connections,
      connectionsPerAddress: limits.connections_per_address ?? usualShare(limits.connections),
      streams: limits.streams,
      sidecarsPerAgent: limits.sidecars_per_agent,
    },
    publicUrls: typeof urls === "string" ? [urls] : urls,
    trustedProxies: fields.trusted_proxies,
    logLevel: fields.log.level,
  };
};

const listenAt = (address: ListenAddress, baseDir: string): ListenAddress =>
  address.kind === "unix" && address.path !== "" ? { kind: "unix", path: resolve(baseDir, address.path) } : address;

const check = (config: VaultServerConfig): Finding[] => {
  const { listen, tls, tokens, publicUrls } = config;
  const findings: Finding[] = [];
  const isAnyAddress = listen.kind === "tcp" && /^(?:0\.0\.0\.0|::)$/.test(listen.host);
  if (listen.kind === "unix" && listen.path === "") {
    findings.push({ path: ["listen"], message: "leaves no way in", hint: "For example 127.0.0.1:7200." });
  } else if (listen.kind === "unix" && Buffer.byteLength(listen.path) > MAX_SOCKET_PATH) {
    findings.push({ path: ["listen"], message: `the socket's absolute path is longer than ${MAX_SOCKET_PATH} bytes` });
  }
  if (!isLocalListener(listen) && tls === undefined) {
    findings.push({
      path: ["listen"],
      message: "would send secrets beyond this machine in cleartext",
      hint: "Give it a certificate: tls: { cert: FILE, key: FILE }; or listen on 127.0.0.1.",
    });
  }
  if (isAnyAddress && publicUrls.length === 0) {
    findings.push({
      path: ["listen"],
      message: "is every address of this machine, which names none that a proof of a sidecar could be for",
      hint: "Say what clients call it: public_url: https://vault.example.com",
    });
  }
  if (tokens.defaultTtlMs > tokens.maxTtlMs) {
    findings.push({ path: ["tokens", "default_ttl"], message: "is longer than tokens.max_ttl" });
  }
  return findings;
};

/** Enough for a host full of sidecars, and not enough to leave nothing for others. */
const usualShare = (connections: number): number => Math.min(connections, Math.max(64, Math.floor(connections / 4)));
