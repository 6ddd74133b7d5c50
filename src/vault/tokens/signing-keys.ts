/**
 * The keys that sign a store's tokens, each in a sealed row: one that signs, and those before it for as long as a token of
 * theirs can be valid. Several processes share them, so what is kept here in memory is looked at again whenever a token is
 * written, and when a token names a key that is not known. Must never give a private key to anybody but the signer.
 */
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import * as z from "zod";
import type { Clock, EpochMs } from "../../core/clock.ts";
import { createSigningKey, type SigningKey } from "../../identity/token.ts";
import { type Barrier, openJson, sealJson } from "../barrier/barrier.ts";
import type { ReadTx, Tx, VaultStorage } from "../storage/storage.ts";
import { indexTokens, lastTokenEnd } from "./rows.ts";

export interface PublicSigningKey {
  readonly kty: "OKP";
  readonly crv: "Ed25519";
  readonly x: string;
  readonly kid: string;
  readonly use: "sig";
  readonly alg: "EdDSA";
}

export interface SigningKeys {
  /** The one that signs now; made on first use. */
  signer(): Promise<SigningKey>;
  /** In the transaction that writes a token: whether `signer` still is the one that signs. */
  isSigner(tx: ReadTx, kid: string): boolean;
  /** In a transaction that writes: brings a store of Sidekey 0.1 into today's form. */
  migrate(tx: Tx): void;
  /** Forgets what is in memory, so that the next question is answered by the store. */
  forget(): void;
  /** A key that may verify; the store is asked once when it is not known. */
  keyOf(kid: string): Promise<SigningKey | undefined>;
  /** A JWK set (RFC 7517 section 5) of all that may verify. */
  jwks(): Promise<{ readonly keys: readonly PublicSigningKey[] }>;
  /** A new key signs from now on. Resolves to its `kid`. */
  rotate(): Promise<string>;
}

const SIGNER = "signer:";
/** Of Sidekey 0.1: the one key, its bytes sealed as they are. */
const FIRST_SIGNER = "signer:ed25519";
/** What a verifier grants to a clock that is behind, as identity/token.ts does. `ms` */
const SKEW_MS = 60_000;

const rowSchema = z.strictObject({
  /** PKCS#8, base64. */
  key: z.string(),
  createdAt: z.number(),
  /** It signs no more, and verifies until then. */
  verifiesUntil: z.number().optional(),
});
type Row = z.output<typeof rowSchema>;

interface Known {
  readonly key: SigningKey;
  readonly verifiesUntil: EpochMs | undefined;
}

export const createSigningKeys = (storage: VaultStorage, barrier: Barrier, clock: Clock): SigningKeys => {
  let known: ReadonlyMap<string, Known> | undefined;

  const parse = (der: Buffer): SigningKey =>
    createSigningKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" }));

  const readAll = (tx: ReadTx): ReadonlyMap<string, Known> => {
    const all = new Map<string, Known>();
    for (const { key: name, value } of tx.range(SIGNER)) {
      const { der, verifiesUntil } = openRow(name, value);
      const key = parse(der);
      all.set(key.kid, { key, verifiesUntil });
    }
    return all;
  };

  const openRow = (name: string, sealed: Buffer): { readonly der: Buffer; readonly verifiesUntil?: EpochMs } => {
    if (name === FIRST_SIGNER) return { der: barrier.open({ path: name, version: 0 }, sealed) };
    const { key, verifiesUntil } = openJson(barrier, name, sealed, rowSchema);
    return { der: Buffer.from(key, "base64"), ...(verifiesUntil !== undefined && { verifiesUntil }) };
  };

  const putRow = (tx: Tx, kid: string, row: Row): void => tx.put(SIGNER + kid, sealJson(barrier, SIGNER + kid, row));

  const addKey = (tx: Tx): string => {
    const { privateKey } = generateKeyPairSync("ed25519");
    const der = privateKey.export({ format: "der", type: "pkcs8" });
    const { kid } = parse(der);
    putRow(tx, kid, { key: der.toString("base64"), createdAt: clock.now() });
    return kid;
  };

  const migrate = (tx: Tx): void => {
    const sealed = tx.get(FIRST_SIGNER);
    if (sealed === undefined) return;
    const { der } = openRow(FIRST_SIGNER, sealed);
    putRow(tx, parse(der).kid, { key: der.toString("base64"), createdAt: clock.now() });
    tx.remove(FIRST_SIGNER);
    indexTokens(tx, barrier);
  };

  const signerOf = (keys: ReadonlyMap<string, Known>): SigningKey | undefined =>
    [...keys.values()].find(({ verifiesUntil }) => verifiesUntil === undefined)?.key;

  const load = async (): Promise<ReadonlyMap<string, Known>> => {
    known = await storage.read(readAll);
    return known;
  };

  const usable = (one: Known | undefined): SigningKey | undefined =>
    one === undefined || (one.verifiesUntil ?? Number.POSITIVE_INFINITY) <= clock.now() ? undefined : one.key;

  return {
    async signer() {
      const found = signerOf(known ?? (await load()));
      if (found !== undefined) return found;
      known = await storage.write((tx) => {
        // Another process may have made one since.
        if (signerOf(readAll(tx)) === undefined) addKey(tx);
        return readAll(tx);
      });
      const made = signerOf(known);
      if (made === undefined) throw new TypeError("a signing key was made and is not there");
      return made;
    },

    isSigner(tx, kid) {
      const sealed = tx.get(SIGNER + kid);
      if (sealed !== undefined) return openRow(SIGNER + kid, sealed).verifiesUntil === undefined;
      const first = tx.get(FIRST_SIGNER);
      return first !== undefined && parse(openRow(FIRST_SIGNER, first).der).kid === kid;
    },

    migrate,

    forget() {
      known = undefined;
    },

    async keyOf(kid) {
      const found = known?.get(kid);
      return usable(found ?? (await load()).get(kid));
    },

    async jwks() {
      const keys = [...(await load()).values()].flatMap((one) => usable(one) ?? []);
      return {
        keys: keys.map(({ publicKey, kid }) => {
          const { x = "" } = publicKey.export({ format: "jwk" });
          return { kty: "OKP", crv: "Ed25519", x, kid, use: "sig", alg: "EdDSA" };
        }),
      };
    },

    async rotate() {
      const kid = await storage.write((tx) => {
        migrate(tx);
        const now = clock.now();
        // No token is signed with a key that was replaced, so the last of those that are there is the last of its.
        const until = Math.max(now, lastTokenEnd(tx)) + SKEW_MS;
        for (const { key: name, value } of tx.range(SIGNER)) {
          const row = openJson(barrier, name, value, rowSchema);
          if (row.verifiesUntil === undefined) putRow(tx, name.slice(SIGNER.length), { ...row, verifiesUntil: until });
          else if (row.verifiesUntil <= now) tx.remove(name);
        }
        return addKey(tx);
      });
      known = undefined;
      return kid;
    },
  };
};
