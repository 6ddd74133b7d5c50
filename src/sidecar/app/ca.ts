/**
 * The interception CA of a sidecar, and the files that clients trust. That of `run` lives in memory; that of `start`
 * follows the state directory, so that `ca rotate` acts without a restart. What is wrong with it is told in the log, with
 * the next step, and the agent gets a code.
 */
import type { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Clock, EpochMs } from "../../core/clock.ts";
import { type ErrorCode, isSidekeyError, SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { type AuthoritySource, fixedAuthority, followAuthority } from "../tls/authority-source.ts";
import type { CertificateAuthority } from "../tls/certificate-authority.ts";
import { type ContextCache, createContextCache } from "../tls/context-cache.ts";
import { type PermittedHost, permits, shutOut } from "../tls/name-constraints.ts";
import { type TrustFiles, writeBundle, writeTrustFiles } from "../tls/trust-files.ts";
import { endsSoon } from "./ca-life.ts";
import type { RouteConfig, SidecarConfig } from "./config/model.ts";

export interface OpenedCa {
  readonly contexts: ContextCache;
  /** Writes `ca.pem` and the bundle, and those of `tls.export`; `extra`: PEM texts for the bundle. */
  publish(extra: readonly string[]): Promise<TrustFiles>;
  /** Waits for what is being read and written: nothing is, afterwards, once no connection asks any more. */
  close(): Promise<void>;
  /** Of the one that signs now. */
  notAfter(): EpochMs;
  /** Errors: TLS_CA_UNUSABLE where it could sign nothing now. */
  check(): Promise<void>;
}

export interface CaOptions {
  readonly mode: "start" | "run";
  readonly config: Pick<SidecarConfig, "state" | "tls" | "routes">;
  /** Where `ca.pem` and the bundle of `run` go; those of `start` are in the state directory. */
  readonly directory: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Puts on record that another CA signs, or that none can. */
  readonly record: (reason: string, code?: ErrorCode) => void;
}

/** Errors: TLS_CA_UNUSABLE. */
export const openCa = async (options: CaOptions): Promise<OpenedCa> =>
  options.mode === "run" ? openPrivateCa(options) : openKeptCa(options);

const openPrivateCa = async ({ config, directory, clock, log }: CaOptions): Promise<OpenedCa> => {
  const { createCertificateAuthority } = await import("../tls/certificate-authority.ts");
  const { caDays, constrain } = config.tls;
  const permitted = constrain ? routedHosts(config.routes) : undefined;
  const authority = await createCertificateAuthority({ clock, days: caDays, permitted });
  const source = fixedAuthority(authority);
  return {
    ...stateOf(source),
    contexts: createTellingContexts(source, clock, log, () => {}),
    publish: (extra) => writeTrustFiles(directory, authority.certificatePem, extra),
    close: () => Promise.resolve(),
  };
};

const openKeptCa = async ({ config, clock, log, record }: CaOptions): Promise<OpenedCa> => {
  const { authorityPaths, openAuthorityFiles, readAuthority } = await import("../tls/certificate-files.ts");
  const { state, tls, routes } = config;
  const permitted = tls.constrain ? routedHosts(routes) : undefined;
  const files = { directory: state, clock, days: tls.caDays, permitted };
  const paths = authorityPaths(state);
  let extraNow: readonly string[] = [];
  let warnedOf = "";
  let publishing: Promise<unknown> = Promise.resolve();

  const warnOfEnd = ({ fingerprint, notAfter }: CertificateAuthority): void => {
    if (warnedOf === fingerprint || !endsSoon(notAfter, clock.now())) return;
    warnedOf = fingerprint;
    log.warn("the CA ends soon", { notAfter: isoTime(notAfter), hint: "Make the next one sign: sidekey ca rotate." });
  };

  const publish = async (extra: readonly string[]): Promise<TrustFiles> => {
    extraNow = extra;
    let trustedPem: string;
    let bundle: string;
    do {
      trustedPem = await readTrusted(paths.trusted);
      if (tls.export !== undefined) await writeTrustFiles(tls.export, trustedPem, extra);
      bundle = await writeBundle(state, trustedPem, extra);
      // A rotation in between wrote its own, which must not be undone.
    } while (trustedPem !== (await readTrusted(paths.trusted)));
    return { ca: paths.trusted, bundle };
  };

  const changed = (outcome: CertificateAuthority | SidekeyError): void => {
    if (isSidekeyError(outcome)) {
      log.error("the CA can sign nothing more", { detail: outcome.detail, hint: outcome.hint });
      record("the CA can sign nothing more", outcome.code);
      return;
    }
    record(`another CA signs from now on: ${outcome.fingerprint}`);
    log.info("another CA signs from now on", { sha256: outcome.fingerprint, notAfter: isoTime(outcome.notAfter) });
    warnOfEnd(outcome);
    publishing = publishing
      .then(() => publish(extraNow))
      .catch((error: unknown) => {
        log.error("the files that clients trust were not written", { detail: toSidekeyError(error).detail });
      });
  };

  const source = await followAuthority({
    path: paths.key,
    async open() {
      const opened = await openAuthorityFiles({
        ...files,
        ...(permitted !== undefined && { accept: (found: X509Certificate) => checkConstraints(found, permitted, log) }),
      });
      if (opened.nextProblem !== undefined) throw opened.nextProblem;
      if (opened.isNextReplaced) {
        log.warn("the CA that is to sign next was made anew", { hint: "Hand ca.pem to the agents before you rotate." });
      }
      return opened.authority;
    },
    read: () => readAuthority(files),
    clock,
    changed,
  });
  warnOfEnd(source.current());
  return {
    ...stateOf(source),
    contexts: createTellingContexts(source, clock, log, warnOfEnd),
    publish,
    async close() {
      await source.settled();
      await publishing;
    },
  };
};

const stateOf = (source: AuthoritySource): Pick<OpenedCa, "notAfter" | "check"> => ({
  notAfter: () => source.current().notAfter,
  check: async () => (await source.latest()).check(),
});

/** Errors: TLS_CA_UNUSABLE: what the file promises must be so before a port opens. */
const checkConstraints = async (
  certificate: X509Certificate,
  wanted: readonly PermittedHost[],
  log: Log,
): Promise<void> => {
  const { constraintsOf } = await import("../tls/certificate-authority.ts");
  const found = await constraintsOf(certificate);
  const hint = "Make one for the hosts of the file, and hand it to the agents: sidekey ca rotate.";
  if (found === undefined || found === "unknown") {
    throw new SidekeyError("TLS_CA_UNUSABLE", {
      detail: "It is not constrained, and 'tls.constrain' asks for it.",
      hint,
    });
  }
  const missing = shutOut(found, wanted);
  if (missing.length > 0) {
    const names = missing.map(({ name }) => name).join(", ");
    throw new SidekeyError("TLS_CA_UNUSABLE", {
      detail: `Its constraints leave out what the file routes: ${names}.`,
      hint,
    });
  }
  const surplus = found.filter((host) => !permits(wanted, host)).map(({ name }) => name);
  if (surplus.length > 0)
    log.warn("the CA may sign for more hosts than the file routes", { hosts: surplus.join(", "), hint });
};

/** What a certificate can be asked for: the hosts of all patterns. */
export const routedHosts = (routes: readonly RouteConfig[]): readonly PermittedHost[] =>
  routes.flatMap(({ patterns }) =>
    patterns.map(
      ({ host }): PermittedHost => (host.kind === "exact" ? host.authority.host : { kind: "name", name: host.suffix }),
    ),
  );

/** Refusals of the CA are told to the operator, once a minute each: the agent only gets the code. */
const createTellingContexts = (
  source: AuthoritySource,
  clock: Clock,
  log: Log,
  minted: (authority: CertificateAuthority) => void,
): ContextCache => {
  const contexts = createContextCache({ authority: source, clock });
  let told = "";
  let toldAt = 0;
  const tell = (thrown: unknown): never => {
    const { code, detail = "", hint } = toSidekeyError(thrown);
    const isNew = detail !== told || clock.monotonic() - toldAt >= TELL_EVERY;
    if (code === "TLS_CA_UNUSABLE" && isNew) {
      told = detail;
      toldAt = clock.monotonic();
      log.error("no certificate can be made", { code, detail, hint });
    }
    throw thrown;
  };
  return {
    get(host) {
      const context = contexts.get(host);
      if (!(context instanceof Promise)) return context;
      minted(source.current());
      return context.catch(tell);
    },
  };
};

/** `ms` */
const TELL_EVERY = 60_000;

/**
 * Makes one certificate before a port opens: the first one loads the X.509 library, which holds the loop for a third of
 * a second, and no request should meet that.
 */
export const mintFirst = async (contexts: ContextCache, routes: readonly RouteConfig[]): Promise<void> => {
  for (const { patterns } of routes) {
    for (const { scheme, host } of patterns) {
      if (scheme !== "https" || host.kind !== "exact") continue;
      await contexts.get(host.authority.host);
      return;
    }
  }
};

const readTrusted = (path: string): Promise<string> =>
  readFile(path, "utf8").catch((cause: unknown) => {
    throw new SidekeyError("TLS_CA_UNUSABLE", { detail: `${path} cannot be read.`, cause });
  });

const isoTime = (time: EpochMs): string => new Date(time).toISOString();
