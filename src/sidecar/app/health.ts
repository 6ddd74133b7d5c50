/** How the parts of a sidecar are, in the words of the admin API. Asks sources no more than requests would. */
import type { AuditBroker } from "../../audit/broker.ts";
import type { Clock } from "../../core/clock.ts";
import { type ErrorCode, toSidekeyError } from "../../core/errors.ts";
import type { Readiness, SecretReport } from "../admin/report.ts";
import { isAnnouncing, isScoped, type SecretRef } from "../secrets/source.ts";
import type { OpenedCa } from "./ca.ts";
import type { ServingGeneration } from "./generation.ts";
import type { MountedSource } from "./sources.ts";

/** A probe does not wait longer for a source than this. `ms` */
const PROBE_MS = 2_000;

/** What makes a source unready: it does not answer, or not to this sidecar. A secret that is missing is not its fault. */
const UNREADY: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "SOURCE_UNAVAILABLE",
  "SOURCE_FORBIDDEN",
  "IDENTITY_TOKEN_EXPIRED",
  "IDENTITY_TOKEN_REVOKED",
]);

export const readinessOf = async (
  { mounted, config }: ServingGeneration,
  broker: AuditBroker,
  ca: Pick<OpenedCa, "check">,
  draining: () => boolean,
): Promise<Readiness> => {
  const [isCaUsable, ...sources] = await Promise.all([
    ca.check().then(
      () => true,
      () => false,
    ),
    ...[...mounted.values()].map((one) => probe(one, config)),
  ]);
  return {
    reasons: [
      ...sources.flat(),
      ...(broker.healthy() ? [] : ["audit"]),
      ...(isCaUsable ? [] : ["ca"]),
      ...(draining() ? ["draining"] : []),
    ],
  };
};

/**
 * By the first secret that a route wants from it, cached or not: what a request would get. Where only agents know what they
 * want from it, by its token, and by whether it is heard.
 */
const probe = async (one: MountedSource, config: ServingGeneration["config"]): Promise<readonly string[]> => {
  const { name } = one.config;
  for (const route of config.routes) {
    for (const { ref } of route.injections) {
      if (ref.source !== name) continue;
      const code = await withinProbe(() => ask(one, ref, config.agent, route));
      return code !== undefined && UNREADY.has(code) ? [`source:${name}`] : [];
    }
  }
  const isWanted = config.routes.some(({ issued }) => issued?.source === name);
  return isWanted && !isThere(one) ? [`source:${name}`] : [];
};

const isThere = ({ source, config: { name } }: MountedSource): boolean => {
  const issued = { placeholder: "", allows: () => false };
  const ref: SecretRef = { source: name, path: "", field: [], version: undefined, text: name, issued };
  try {
    if (isScoped(source)) source.authorize(ref);
    return !isAnnouncing(source) || source.isHeard();
  } catch (error) {
    return !UNREADY.has(toSidekeyError(error).code);
  }
};

const ask = async (
  { source, resolver }: MountedSource,
  ref: SecretRef,
  agent: string,
  policy: { readonly maxAgeMs: number; readonly staleWhileErrorMs: number },
): Promise<ErrorCode | undefined> => {
  try {
    if (isScoped(source)) source.authorize(ref);
    await resolver.resolve(ref, agent, policy);
    return undefined;
  } catch (error) {
    return toSidekeyError(error).code;
  }
};

const withinProbe = async (act: () => Promise<ErrorCode | undefined>): Promise<ErrorCode | undefined> => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<ErrorCode>((resolve) => {
    timer = setTimeout(() => resolve("SOURCE_UNAVAILABLE"), PROBE_MS);
  });
  try {
    return await Promise.race([act(), late]);
  } finally {
    clearTimeout(timer);
  }
};

export const secretReports = ({ mounted, config }: ServingGeneration, clock: Clock): readonly SecretReport[] => {
  const routes = new Map<string, { readonly ref: SecretRef; readonly names: string[] }>();
  for (const { name, injections } of config.routes) {
    for (const { ref } of injections) {
      const known = routes.get(ref.text);
      if (known === undefined) routes.set(ref.text, { ref, names: [name] });
      else if (!known.names.includes(name)) known.names.push(name);
    }
  }
  return [...routes.values()].map(({ ref, names }) => {
    const one = mounted.get(ref.source);
    const fetched = one?.fetches.get(ref.text);
    const refused = one === undefined ? "SOURCE_UNAVAILABLE" : refusalOf(one, ref);
    const { fetchedAt } = fetched ?? {};
    return {
      reference: ref.text,
      routes: names,
      version: fetched?.version ?? null,
      age: fetchedAt === undefined ? null : Math.max(0, Math.floor((clock.now() - fetchedAt) / 1000)),
      state: refused ?? fetched?.failure ?? (fetched === undefined ? "unused" : "ok"),
    };
  });
};

const refusalOf = ({ source }: MountedSource, ref: SecretRef): ErrorCode | undefined => {
  if (!isScoped(source)) return undefined;
  try {
    source.authorize(ref);
    return undefined;
  } catch (error) {
    return toSidekeyError(error).code;
  }
};
