/** The `address` of a vault in the file. The client judges it again where it connects; here the file's reader is told early. */
import * as z from "zod";
import { refuse } from "../../../config/units.ts";
import { type Authority, formatAuthority, parseAuthority } from "../../../core/authority.ts";
import { isLoopback, parseIp } from "../../../core/ip.ts";

export interface VaultPlace {
  readonly scheme: "http" | "https";
  readonly authority: Authority;
}

const FORM = "must be https://HOST[:PORT]";
const EXAMPLE = "For example https://vault.internal:7200.";
const PARTS = /^(https?):\/\/([^/?#@\s]+)\/?$/i;

/** Undefined: it is none. */
export const parseVaultPlace = (text: string): VaultPlace | undefined => {
  const [, scheme = "", place = ""] = PARTS.exec(text) ?? [];
  const secure = scheme.toLowerCase() === "https";
  const authority = scheme === "" ? undefined : parseAuthority(place, secure ? 443 : 80);
  return authority === undefined ? undefined : { scheme: secure ? "https" : "http", authority };
};

/** In one spelling: `https://vault.internal:7200`. */
export const vaultAddress = z
  .string()
  .meta({ pattern: "^https?://[^/?#@\\s]+/?$", examples: ["https://vault.internal:7200"] })
  .transform((text, context): string => {
    if (text.includes("@")) {
      return refuse(
        context,
        "must not hold a password or a user name",
        "The source's 'agent_key' or 'token' says who asks.",
      );
    }
    const place = parseVaultPlace(text);
    if (place === undefined) return refuse(context, FORM, EXAMPLE);
    const { scheme, authority } = place;
    if (scheme === "https") return `https://${formatAuthority(authority, 443)}`;
    if (isOfThisMachine(authority)) return `http://${formatAuthority(authority, 80)}`;
    return refuse(
      context,
      "would send keys and secrets across a network in cleartext HTTP",
      "Use https://; http:// is for a vault on this machine alone.",
    );
  });

const isOfThisMachine = ({ host }: Authority): boolean => {
  if (host.name === "localhost") return true;
  const bytes = parseIp(host.name);
  return bytes !== undefined && isLoopback(bytes);
};
