/** The address of a vault: one origin, over TLS unless it is this machine. Must never accept one with a credential in it. */
import { formatAuthority, parseAuthority } from "../../core/authority.ts";
import { isLoopback, parseIp } from "../../core/ip.ts";
import { VaultClientError } from "../errors.ts";

export interface VaultAddress {
  /** `https://vault.internal:7200`, as DPoP proofs and messages name it. */
  readonly origin: string;
  readonly secure: boolean;
  /** IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  /** As in a Host header. */
  readonly authority: string;
}

const FORM = /^(https?):\/\/([^/?#@\s]+)\/?$/i;

/** Errors: CLIENT_BAD_ADDRESS. */
export const parseVaultAddress = (text: string): VaultAddress => {
  // Programs without types may pass what a variable does not hold.
  if (typeof text !== "string") throw badAddress("There is none: it is no text.");
  const [, scheme = "", place = ""] = FORM.exec(text) ?? [];
  if (scheme === "") throw badAddress(...whatIsWrong(text));
  const secure = scheme.toLowerCase() === "https";
  const standard = secure ? 443 : 80;
  const parsed = parseAuthority(place, standard);
  if (parsed === undefined) throw badAddress("Its host or its port is none.");
  const { host, port } = parsed;
  if (!secure && !isHere(host.name)) {
    throw badAddress(
      `http://${parsed.key} would send keys and secrets across a network in the clear.`,
      "Use https://; plain http:// is for a vault on this machine alone.",
    );
  }
  const authority = formatAuthority(parsed, standard);
  return { origin: `${secure ? "https" : "http"}://${authority}`, secure, host: host.name, port, authority };
};

const whatIsWrong = (text: string): [detail: string, hint?: string] => {
  if (/^https?:\/\/[^/?#]*@/i.test(text)) {
    return ["It has a user or a password in it.", "Give https://HOST[:PORT]; keys have a place of their own."];
  }
  if (/^https?:\/\/[^/?#@\s]+[/?#]/i.test(text)) {
    return ["It has more than a host and a port.", "Leave out what follows them; the calls' paths are known."];
  }
  if (text !== "" && !text.includes("://")) return ["It does not begin with https://.", "Give https://HOST[:PORT]."];
  return ["It is not https://HOST[:PORT]."];
};

const isHere = (name: string): boolean => {
  if (name === "localhost") return true;
  const address = parseIp(name);
  return address !== undefined && isLoopback(address);
};

/** The text itself stays out: somebody may have put a password into it. */
const badAddress = (detail: string, hint?: string): VaultClientError =>
  new VaultClientError("CLIENT_BAD_ADDRESS", { detail, ...(hint !== undefined && { hint }) });
