/** The errors of the client in the session's words. Opens nothing, and shows no more than the client's error does. */
import { isSidekeyError, type SidekeyError } from "../../../core/errors.ts";
import { type FaultKind, LinkFault } from "./link.ts";

/** What the client's errors have beside the table's. */
interface ClientFacts {
  readonly httpStatus?: number | undefined;
  readonly vaultCode?: string | undefined;
  readonly vaultReason?: string | undefined;
}

/** What a call of the client fails with, as the session knows it. */
export const calling = async <T>(call: () => Promise<T>): Promise<T> => {
  try {
    return await call();
  } catch (error) {
    throw faultOf(error);
  }
};

const KINDS: Readonly<Record<string, FaultKind>> = {
  CLIENT_UNREACHABLE: "unreachable",
  CLIENT_BAD_ANSWER: "garbage",
  CLIENT_UNAVAILABLE: "busy",
  CLIENT_RATE_LIMITED: "busy",
  CLIENT_UNAUTHORIZED: "unauthorized",
  CLIENT_SCOPE_DENIED: "denied",
  CLIENT_APPROVAL_REQUIRED: "unapproved",
  CLIENT_SECRET_MISSING: "missing",
  CLIENT_SECRET_EXPIRED: "missing",
  CLIENT_NOT_FOUND: "missing",
  CLIENT_CONFLICT: "refused",
  CLIENT_REFUSED: "refused",
  CLIENT_BAD_ADDRESS: "refused",
};

const kindOf = ({
  code,
  httpStatus = 0,
  vaultCode,
  vaultReason,
  retryAfter,
}: SidekeyError & ClientFacts): FaultKind => {
  // The code says no more than that the vault does not allow it.
  if (vaultReason === "hosts") return "host";
  // RFC 9110 sections 15.6.3 to 15.6.5: what stands before a vault says that there is none, which it asks no time for.
  const isOfBalancer = vaultCode === undefined && httpStatus >= 502 && httpStatus <= 504;
  return isOfBalancer && retryAfter === undefined ? "unreachable" : (KINDS[code] ?? "garbage");
};

export const faultOf = (error: unknown): LinkFault => {
  if (error instanceof LinkFault) return error;
  if (error instanceof Error && error.name === "AbortError")
    return new LinkFault("unreachable", "It did not answer in time.");
  if (!isSidekeyError(error)) return new LinkFault("garbage", "The call failed in a way that has no name.");
  const { detail, publicMessage, hint, retryAfter } = error;
  return new LinkFault(kindOf(error as SidekeyError & ClientFacts), detail ?? publicMessage, {
    hint,
    ...(retryAfter !== undefined && { retryAfter }),
  });
};
