/** One secret from the vault, for one authority: what is asked, and what of the answer may be believed. */
import type { Authority } from "../../../core/authority.ts";
import type { Clock, EpochMs } from "../../../core/clock.ts";
import { isSidekeyError } from "../../../core/errors.ts";
import type { SecretValue } from "../../../core/secret-value.ts";
import type { FetchContext, IssuedFor, ReplacedValue, SecretMaterial, SecretRef } from "../source.ts";
import { checkedSecret } from "../value-check.ts";
import { missing } from "./failure.ts";
import { LinkFault, type Redeemed, type RedeemRequest, type VaultLink } from "./link.ts";

export interface Redemption {
  readonly link: VaultLink;
  readonly token: string;
  readonly agent: string;
  readonly ref: SecretRef;
  /** What the reference's name leads to, where that is known. */
  readonly path: string;
  readonly context: FetchContext;
  /** Of a route that uses it, where nobody asks for a request. */
  readonly fallback: Authority | undefined;
  readonly clock: Clock;
}

const SEGMENT = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}$/;
const MAX_PATH = 1024;
/** RFC 2606: leads nowhere, so that a secret that is bound to hosts is not given. */
const NOWHERE = "nowhere.invalid";

/** Errors: SOURCE_SECRET_MISSING, SOURCE_BAD_VALUE, SOURCE_FORBIDDEN; what the link throws. */
export const redeemSecret = async (redemption: Redemption): Promise<SecretMaterial> => {
  const { link, token, agent, ref, context, fallback, clock } = redemption;
  const { known, reason, signal } = context;
  const version = versionOf(ref);
  // A version that is named stays what it is, and a name may lead elsewhere by now.
  const ifVersion = version === undefined && known?.version !== undefined ? Number(known.version) : undefined;
  const answer = await link.redeem(
    token,
    {
      ...whatOf(redemption),
      ...(version !== undefined && { version }),
      ...(ifVersion !== undefined && { ifVersion }),
      authority: (context.authority ?? fallback)?.key ?? NOWHERE,
      agentName: agent,
      ...(reason !== undefined && { reason }),
    },
    signal,
  );
  if (answer.unchanged) {
    if (known !== undefined && answer.version === ifVersion) return known;
    throw new LinkFault("garbage", "It says that a version is unchanged which it was not asked about.");
  }
  return materialOf(answer, redemption, clock.now());
};

const whatOf = ({ ref, path }: Redemption): Pick<RedeemRequest, "path" | "name" | "placeholder"> => {
  if (ref.issued !== undefined) return { placeholder: ref.issued.placeholder };
  const segments = path.split("/");
  if (path.length > MAX_PATH || !segments.every((one) => SEGMENT.test(one))) throw missing(ref);
  return segments.length === 1 ? { name: path } : { path };
};

/** Versions are counted from 1; any other word names none. */
const versionOf = (ref: SecretRef): number | undefined => {
  if (ref.version === undefined) return undefined;
  if (!/^[1-9][0-9]{0,8}$/.test(ref.version)) throw missing(ref);
  return Number(ref.version);
};

const materialOf = (
  answer: Extract<Redeemed, { readonly unchanged: false }>,
  { ref, path }: Redemption,
  now: EpochMs,
): SecretMaterial => {
  const { value, version, hosts, notAfter, maxAgeMs } = answer;
  const issued = ref.issued === undefined ? undefined : issuedFor(answer);
  if (issued === undefined && path.includes("/") && answer.path !== path) {
    throw new LinkFault("garbage", "It answers with another secret than it was asked for.");
  }
  const ends = [notAfter, maxAgeMs === undefined ? undefined : now + maxAgeMs].filter((end) => end !== undefined);
  return {
    value: recheck(value, ref),
    version: String(version),
    ...(hosts.length > 0 && { hosts }),
    ...(issued !== undefined && { issued }),
    ...(ends.length > 0 && { notAfter: Math.min(...ends) }),
    replaced: ref.version === undefined ? answer.replaced.flatMap((one) => usable(one, ref)) : [],
  };
};

/** Whether the route takes it is asked for each request. */
const issuedFor = ({ path, agent }: { readonly path: string; readonly agent?: string }): IssuedFor => {
  if (agent === undefined) throw new LinkFault("garbage", "It does not say whose placeholder that is.");
  return { path, agent };
};

const recheck = (value: SecretValue, ref: SecretRef): SecretValue => value.lend((bytes) => checkedSecret(bytes, ref));

/** An old value that could not be sent was not. */
const usable = ({ value, replacedAt }: ReplacedValue, ref: SecretRef): readonly ReplacedValue[] => {
  try {
    return [{ value: recheck(value, ref), replacedAt }];
  } catch (error) {
    if (isSidekeyError(error)) return [];
    throw error;
  }
};
