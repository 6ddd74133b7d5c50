/** Redemption: a sidecar gets the value of a secret for one authority, with a proof of its own key (vault-protocol.md). */
import * as z from "zod";
import type { EpochMs } from "../core/clock.ts";
import { SecretValue } from "../core/secret-value.ts";
import { given, name, optional, time, version } from "./answers.ts";
import type { Calls } from "./calls.ts";
import type { Credentials } from "./credentials.ts";
import { BadAnswerError } from "./errors.ts";

/** One of `path`, `name` (looked for from the agent's place outwards) and `placeholder`. */
export interface RedeemRequest {
  readonly path?: string;
  readonly name?: string;
  readonly placeholder?: string;
  readonly version?: number;
  /** Answer only that nothing changed while this is the version. */
  readonly ifVersion?: number;
  /** `host:port` that the value is for. */
  readonly authority: string;
  readonly agentName?: string;
  readonly reason?: string;
  /** In place of the client's own. */
  readonly token?: string;
  readonly signal?: AbortSignal;
}

export interface Redeemed {
  readonly unchanged: false;
  readonly value: SecretValue;
  readonly version: number;
  readonly path: string;
  /** Of a placeholder: name of the agent that the vault gave it to. */
  readonly agent?: string;
  /** The value is no good after this. */
  readonly notAfter?: EpochMs;
  /** It may be kept so long without asking again. `ms` */
  readonly maxAgeMs?: number;
  readonly hosts?: readonly string[];
  /** Values before it that may still be about. */
  readonly replaced: readonly { readonly value: SecretValue; readonly replacedAt: EpochMs }[];
}

export interface Unchanged {
  readonly unchanged: true;
  readonly version: number;
}

const secretText = z.string().min(1);

const unchangedSchema = z.object({ unchanged: z.literal(true), version });
const redeemedSchema = z.object({
  value: secretText,
  version,
  path: optional(name),
  agent: optional(name),
  not_after: optional(time),
  /** Seconds. */
  max_age: optional(z.number().min(0).max(31_536_000)),
  hosts: optional(z.array(name).max(1024)),
  replaced: optional(z.array(z.object({ value: secretText, replaced_at: time })).max(1024)),
});
const answerSchema = z.union([unchangedSchema, redeemedSchema]);

/** Errors: all of errors.ts. */
export const redeem = async (
  calls: Calls,
  credentials: Pick<Credentials, "proved">,
  request: RedeemRequest,
): Promise<Redeemed | Unchanged> => {
  const { path, placeholder, ifVersion, signal } = request;
  const body = {
    path,
    name: request.name,
    placeholder,
    version: request.version,
    if_version: ifVersion,
    authority: request.authority,
    agent_name: request.agentName,
    reason: request.reason,
  };
  const what = path ?? request.name ?? "the placeholder";
  const credential = credentials.proved(request.token);
  const answer = await calls.json(
    { method: "POST", path: "/v1/redeem", credential, body, repeatable: true, once: true, what, signal },
    answerSchema,
  );
  if ("unchanged" in answer) {
    // Only what was asked for can be unchanged.
    if (answer.version === ifVersion) return answer;
    throw new BadAnswerError({ detail: `${what}: the vault says that another version is unchanged.` });
  }
  if (path !== undefined && answer.path !== undefined && answer.path !== path) {
    throw new BadAnswerError({ detail: `${what}: the vault answers with another secret.` });
  }
  return {
    unchanged: false,
    value: SecretValue.fromText(answer.value),
    ...given({
      version: answer.version,
      path: answer.path ?? path ?? "",
      agent: answer.agent,
      notAfter: answer.not_after,
      maxAgeMs: answer.max_age === undefined ? undefined : answer.max_age * 1000,
      hosts: answer.hosts,
    }),
    replaced: (answer.replaced ?? []).map(({ value, replaced_at }) => ({
      value: SecretValue.fromText(value),
      replacedAt: replaced_at,
    })),
  };
};
