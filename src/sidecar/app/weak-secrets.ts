/**
 * Which routes have a secret that could be guessed (ruling 5). Says which and why it matters, never anything of the
 * value; what can't be fetched is passed over.
 */

import type { Finding } from "../../config/problem.ts";
import type { Clock } from "../../core/clock.ts";
import { onTheWire } from "../injection/injector.ts";
import { createInjector } from "../injection/kinds/index.ts";
import { isWeak, WEAK_BITS } from "../scrub/strength.ts";
import { createSecretResolver } from "../secrets/resolver.ts";
import type { SecretSource } from "../secrets/source.ts";
import type { SidecarConfig } from "./config/model.ts";

const ONCE = { maxAgeMs: 60_000, staleWhileErrorMs: 0 } as const;

/** A finding for each such route whose source is among `sources`. */
export const findWeakSecrets = async (
  { routes, agent }: SidecarConfig,
  sources: ReadonlyMap<string, SecretSource>,
  clock: Clock,
): Promise<readonly Finding[]> => {
  const resolver = createSecretResolver(sources, clock);
  const findings: Finding[] = [];
  for (const { name, injections } of routes) {
    for (const ref of new Map(injections.map((one) => [one.ref.text, one.ref])).values()) {
      if (!sources.has(ref.source)) continue;
      const material = await Promise.resolve()
        .then(() => resolver.resolve(ref, agent, ONCE))
        .catch(() => undefined);
      if (material === undefined) continue;
      const using = injections.filter((one) => one.ref.text === ref.text);
      const sent = using.map(({ fields }) => ({ injector: createInjector(fields), secret: 0 }));
      if (isWeak(onTheWire(sent, 0, material.value))) {
        findings.push({ path: ["routes", name], message: weakSecretMessage(ref.text), hint: WEAK_SECRET_HINT });
      }
    }
  }
  resolver.close();
  return findings;
};

const weakSecretMessage = (reference: string): string =>
  `the secret ${reference} could be guessed: it is estimated at under ${WEAK_BITS} bits`;

const WEAK_SECRET_HINT =
  "Use a longer, random one. Until then 10 echoes in an hour close its route, unless 'on_reflection' says otherwise.";
