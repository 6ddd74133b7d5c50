/**
 * Why no answer came, in words a person can act on. Told by the system's and OpenSSL's own codes; the error itself never
 * gets through, since what a peer sent may stand in it.
 */
import type { EpochMs } from "../../core/clock.ts";
import { isValidAt, validityOf, validityWords } from "../../core/validity.ts";
import { NetworkError } from "../errors.ts";
import type { VaultAddress } from "./address.ts";

interface Reason {
  readonly detail: string;
  readonly hint: string;
}

/** Before a connection stands, nothing of the request has left. */
const UNSENT: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENETDOWN",
  "EHOSTDOWN",
  "EADDRNOTAVAIL",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EAI_FAIL",
  "EAI_NODATA",
  "EAI_NONAME",
]);

const UNTRUSTED: ReadonlySet<string> = new Set([
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "CERT_UNTRUSTED",
  "INVALID_CA",
  "CERT_SIGNATURE_FAILURE",
]);

/** Alerts with which a server ends a handshake over the client's own certificate (RFC 8446 section 6.2). */
const CERTIFICATE_WANTED: ReadonlySet<string> = new Set([
  "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED",
  "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA",
  "ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE",
  "ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED",
]);

const GIVE_ONE =
  "Give one that it trusts: --cert FILE --cert-key FILE, 'cert' and 'cert_key' of the source, or 'certificate' of the client.";

/** With TLS 1.3 the client's certificate is judged when the handshake is over for the client; Node then ends it in silence. */
const BROKEN: ReadonlySet<string> = new Set(["ECONNRESET", "EPIPE"]);

export const CONNECT_TIMEOUT = "SIDEKEY_CONNECT_TIMEOUT";
export const ANSWER_TIMEOUT = "SIDEKEY_ANSWER_TIMEOUT";

/** What a new connection showed of its own accord before it broke. */
export interface Shown {
  /** PEM. */
  readonly cert: string;
  readonly now: EpochMs;
}

/** `connected`: the request was on its way when it failed. */
export const networkFault = (
  error: unknown,
  address: VaultAddress,
  connected: boolean,
  shown?: Shown,
): NetworkError => {
  const code = codeOf(error);
  const isTls = isTlsFault(code);
  const sent = connected && !UNSENT.has(code) && !isTls;
  // No cause: Node's HTTP parser hangs the bytes it could not read on its error, and they may be anything.
  const isRefusal = shown !== undefined && BROKEN.has(code);
  return new NetworkError({
    ...(isRefusal ? refusedReason(code, address, shown) : reasonFor(code, address, isTls)),
    sent,
  });
};

const isTlsFault = (code: string): boolean =>
  UNTRUSTED.has(code) ||
  code.startsWith("CERT_") ||
  code.startsWith("ERR_TLS_") ||
  code.startsWith("ERR_SSL_") ||
  code === "EPROTO" ||
  code === "HOSTNAME_MISMATCH";

const reasonFor = (code: string, { origin, host, secure }: VaultAddress, isTls: boolean): Reason => {
  if (code === "ECONNREFUSED") {
    return {
      detail: `Nothing listens at ${origin}.`,
      hint: "Start it there: sidekey vault serve. Or mend the address.",
    };
  }
  if (code === "ENOTFOUND" || code.startsWith("EAI_")) {
    return { detail: `The name ${host} leads to no address (${code}).`, hint: "Check the spelling and the network." };
  }
  if (code === CONNECT_TIMEOUT || code === ANSWER_TIMEOUT) {
    const what = code === CONNECT_TIMEOUT ? "takes no connection" : "did not answer";
    return { detail: `${origin} ${what} in time.`, hint: "Check that it is up and that no firewall stands between." };
  }
  if (UNTRUSTED.has(code)) {
    return {
      detail: `The certificate of ${origin} is signed by nobody that is trusted here (${code}).`,
      hint: "Name the CA of the vault: --ca FILE, or 'ca' of the source or the client.",
    };
  }
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID" || code === "HOSTNAME_MISMATCH") {
    return {
      detail: `The certificate of ${origin} is for other names than ${host}.`,
      hint: "Call the vault by a name of its certificate, or give it one for this name.",
    };
  }
  if (code === "CERT_HAS_EXPIRED" || code === "CERT_NOT_YET_VALID") {
    return { detail: `The certificate of ${origin} is not valid now (${code}).`, hint: "Renew it; check both clocks." };
  }
  if (CERTIFICATE_WANTED.has(code)) {
    return {
      detail: `${origin} asks its clients for a certificate, and takes none or not this one (${code}).`,
      hint: GIVE_ONE,
    };
  }
  if (isTls) {
    return {
      detail: `No TLS connection to ${origin} comes about (${code}).`,
      hint: "Check that the vault speaks TLS there, and which versions and certificate it has.",
    };
  }
  return {
    detail: `The connection to ${origin} broke (${code}).`,
    hint: secure ? "Try again." : "Try again. If the vault has TLS, the address begins with https://.",
  };
};

/** A connection with a certificate of ours broke before a word was said: that may be why. */
const refusedReason = (code: string, { origin }: VaultAddress, { cert, now }: Shown): Reason => {
  const validity = validityOf(cert);
  if (validity !== undefined && !isValidAt(validity, now)) {
    return {
      detail: `The connection to ${origin} broke (${code}): the certificate that is shown to it is not valid now (${validityWords(validity)}).`,
      hint: "Renew it; check both clocks.",
    };
  }
  return {
    detail: `The connection to ${origin} broke (${code}); it may not take the certificate that it is shown.`,
    hint: "Try again. See that an issuer in the vault's tls.client_ca signed it.",
  };
};

/** Node wraps what happened to each address of a name (RFC 8305) into one error. */
const codeOf = (error: unknown): string => {
  if (error instanceof AggregateError && error.errors.length > 0) return codeOf(error.errors[0]);
  if (typeof error !== "object" || error === null || !("code" in error)) return "UNKNOWN";
  const { code } = error;
  return typeof code === "string" && /^[A-Z0-9_]{1,64}$/.test(code) ? code : "UNKNOWN";
};
