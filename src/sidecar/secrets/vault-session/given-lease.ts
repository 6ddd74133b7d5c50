/**
 * A token that somebody else issued and renews: read from where the file says, and read again when that changes. It
 * covers what it covers; its end is the source's end until another one is put there.
 */
import { SidekeyError, toSidekeyError } from "../../../core/errors.ts";
import { scopesCover } from "../../../identity/scope.ts";
import type { SecretRef } from "../source.ts";
import { scopeDenied, sourceError } from "./failure.ts";
import { createGrant, type Grant, readToken, type TokenWords } from "./grant.ts";
import { createTroubleLog, type Lease, type LeaseParts, revokedError } from "./lease.ts";

export interface GivenLeaseOptions extends LeaseParts {
  /** The text of the token. Errors: CONFIG_INVALID. */
  readonly read: () => string;
  /** A word that changes with what `read` would give; undefined: it never does. */
  readonly stamp: (() => string) | undefined;
  /** Of this sidecar's key. */
  readonly thumbprint: string;
}

export interface GivenLease extends Lease {
  /** Says that there is a token, and looks for another one from here on. Once. */
  begin(): void;
  /** Of the token as it is now. */
  readonly covers: (path: string) => boolean;
  /** Reads it again. Errors: CONFIG_INVALID, IDENTITY_TOKEN_INVALID; then the old one stays. */
  reread(): void;
}

const LOOK_EVERY_MS = 1_000;
const NO_NAMES: ReadonlyMap<string, string> = new Map();

interface Held {
  readonly text: string;
  readonly words: TokenWords;
  readonly grant: Grant;
}

/** Errors: CONFIG_INVALID (absent), IDENTITY_TOKEN_INVALID. */
export const createGivenLease = (options: GivenLeaseOptions): GivenLease => {
  const { link, source, clock, log, after, changed, read, stamp, thumbprint } = options;
  const { trouble, over } = createTroubleLog(options);

  const hold = (text: string): Held => {
    const words = readToken(text);
    if (words.jkt !== undefined && words.jkt !== thumbprint) throw otherKey();
    const { id, expiresAt } = words;
    return { text, words, grant: createGrant({ token: text, id, expiresAt, names: NO_NAMES }, clock) };
  };

  let seen = stamp?.();
  let held = hold(read());
  let isRevoked = false;
  /** The vault's word on the token as it is. */
  let refusal: SidekeyError | undefined;
  let told: string | undefined;
  let cancelLook = (): void => {};
  let cancelEnd = (): void => {};

  const tellEnd = (): void => {
    cancelEnd();
    const { grant } = held;
    cancelEnd = after(Math.max(0, grant.expiresAt - clock.now()), () => {
      if (held.grant !== grant) return;
      log.error("the source's token has expired", { source, hint: "Issue a new one, and put it in its place." });
    });
  };

  const reread = (): void => {
    const text = read();
    if (text === held.text) return;
    held = hold(text);
    isRevoked = false;
    refusal = undefined;
    told = undefined;
    log.info("the source has another token", { source, expires: new Date(held.grant.expiresAt).toISOString() });
    tellEnd();
    changed();
  };

  const look = (): void => {
    cancelLook = after(LOOK_EVERY_MS, look);
    const now = stamp?.();
    if (now === seen) return;
    seen = now;
    try {
      reread();
    } catch (error) {
      const { code, detail } = toSidekeyError(error);
      if (told !== detail)
        log.warn("the source's token cannot be taken, and the one before stays", { source, code, detail });
      told = detail;
    }
  };

  const revoked = (): void => {
    if (isRevoked) return;
    isRevoked = true;
    log.error("the source's token was revoked", { source, address: link.address });
  };

  const endOf = (): SidekeyError | undefined => {
    if (isRevoked) return revokedError(source);
    return held.grant.isOver() ? new SidekeyError("IDENTITY_TOKEN_EXPIRED", { detail: `source ${source}` }) : undefined;
  };

  return {
    begin() {
      tellEnd();
      if (stamp !== undefined) cancelLook = after(LOOK_EVERY_MS, look);
      changed();
    },
    check(ref: SecretRef) {
      const end = endOf();
      if (end !== undefined) throw end;
      // What a name leads to, and what a placeholder stands for, is for the vault to say.
      const isKnown = ref.issued === undefined && ref.path.includes("/");
      if (isKnown && !scopesCover(held.words.scopes, "use", ref.path)) throw scopeDenied(ref);
    },
    covers: (path) => scopesCover(held.words.scopes, "use", path),
    current: () => (isRevoked || held.grant.isOver() ? undefined : held.grant),
    pathOf: () => undefined,
    async refused(used, fault) {
      if (held.grant !== used) return true;
      if (fault.kind === "revoked") revoked();
      else {
        refusal = sourceError(fault, `source ${source}`);
        trouble("the vault does not take the source's token", fault);
      }
      // It may have been replaced a moment ago.
      seen = undefined;
      cancelLook();
      if (stamp !== undefined) look();
      return held.grant !== used;
    },
    accepted() {
      refusal = undefined;
      over("the vault takes the source's token again");
    },
    holds: (id) => id === held.grant.id,
    revoked,
    isRevoked: () => isRevoked,
    describe: () => ({ expiresAt: held.grant.expiresAt, problem: endOf() ?? refusal }),
    reread,
    close() {
      cancelLook();
      cancelEnd();
    },
  };
};

const otherKey = (): SidekeyError =>
  new SidekeyError("IDENTITY_TOKEN_INVALID", {
    detail: "The source's token is bound to another key than this sidecar's.",
    hint: "Issue one for this key: sidekey token issue --scope 'secrets:use:PATH' --jkt \"$(sidekey identity)\".",
  });
