/**
 * Placeholders: what an agent gets in the place of a value when its token reads no values, and what a sidecar gives back
 * for it. Each belongs to one token and one path, is known by a row, so that every replica resolves it, and ends with its
 * token. Must never hold a value, and says of a text that is none no more than that.
 */
import { createHash, randomBytes } from "node:crypto";
import * as z from "zod";
import { SidekeyError } from "../../core/errors.ts";
import type { SecretValue } from "../../core/secret-value.ts";
import { type Barrier, openJson, sealJson } from "../barrier/barrier.ts";
import { PLACEHOLDER, TOKEN } from "../barrier/rows.ts";
import type { ReadTx, Tx, VaultStorage } from "../storage/storage.ts";
import { coreIn, placeholderCore, placeholderText, tokenMark, tokenMarkOf } from "./placeholder-text.ts";

export interface PlaceholderRequest {
  /** `jti` of the token that reads. */
  readonly tokenId: string;
  readonly agentId: string;
  readonly path: string;
  /** Gives its shape, and nothing else. */
  readonly value: SecretValue;
}

export interface ResolvedPlaceholder {
  readonly tokenId: string;
  readonly agentId: string;
  readonly path: string;
}

export interface VaultPlaceholders {
  /** The same text for a token and a path as long as the token is there. Errors: IDENTITY_TOKEN_REVOKED (it is not). */
  issue(request: PlaceholderRequest): Promise<string>;
  /** Undefined for everything else, and when its token has gone. Whether that is still good is the caller's to ask. */
  resolve(text: string): Promise<ResolvedPlaceholder | undefined>;
}

const KEY = `${PLACEHOLDER}key`;
const KEY_BYTES = 32;

const rowSchema = z.strictObject({ tokenId: z.string(), agentId: z.string(), path: z.string(), text: z.string() });
type PlaceholderRow = z.output<typeof rowSchema>;

export const createVaultPlaceholders = (storage: VaultStorage, barrier: Barrier): VaultPlaceholders => {
  /** What there is for this token and path already, if the token is there. */
  const find = (tx: ReadTx, request: PlaceholderRequest): PlaceholderRow | undefined => {
    tx.expect([KEY, TOKEN + request.tokenId]);
    if (tx.get(TOKEN + request.tokenId) === undefined) throw new SidekeyError("IDENTITY_TOKEN_REVOKED");
    const key = openKey(tx, barrier);
    return key === undefined ? undefined : readRow(tx, barrier, rowKey(placeholderCore(key, request)));
  };

  return {
    async issue(request) {
      const known = await storage.read((tx) => find(tx, request));
      if (known !== undefined) return known.text;
      const fresh = randomBytes(KEY_BYTES);
      return storage.write((tx) => {
        const others = find(tx, request);
        if (others !== undefined) return others.text;
        const { tokenId, agentId, path, value } = request;
        const key = openKey(tx, barrier) ?? putKey(tx, barrier, fresh);
        const core = placeholderCore(key, request);
        const text = placeholderText(key, core, value);
        tx.put(rowKey(core), sealJson(barrier, rowKey(core), { tokenId, agentId, path, text }));
        return text;
      });
    },

    async resolve(text) {
      const core = coreIn(text);
      if (core === undefined) return undefined;
      return storage.read((tx) => {
        const row = readRow(tx, barrier, rowKey(core));
        if (row === undefined || row.text !== text || tx.get(TOKEN + row.tokenId) === undefined) return undefined;
        const { tokenId, agentId, path } = row;
        return { tokenId, agentId, path };
      });
    },
  };
};

/** In the transaction that ends a token: nothing stands for a secret in its name any more. */
export const dropPlaceholders = (tx: Tx, barrier: Barrier, tokenId: string): void => {
  const key = openKey(tx, barrier);
  if (key === undefined) return;
  for (const { key: name } of tx.range(rowsOfMark(tokenMark(key, tokenId)))) {
    // The mark is short: another token may have the same one.
    if (readRow(tx, barrier, name)?.tokenId === tokenId) tx.remove(name);
  }
};

const openKey = (tx: ReadTx, barrier: Barrier): Buffer | undefined => {
  const sealed = tx.get(KEY);
  return sealed === undefined ? undefined : barrier.open({ path: KEY, version: 0 }, sealed);
};

const putKey = (tx: Tx, barrier: Barrier, fresh: Buffer): Buffer => {
  tx.put(KEY, barrier.seal({ path: KEY, version: 0 }, fresh));
  return fresh;
};

const readRow = (tx: ReadTx, barrier: Barrier, key: string): PlaceholderRow | undefined => {
  const sealed = tx.get(key);
  return sealed === undefined ? undefined : openJson(barrier, key, sealed, rowSchema);
};

/** A row's key stands open in the store: it must not be what the placeholder is. Found by the core, in one step. */
const rowKey = (core: string): string => rowsOfMark(tokenMarkOf(core)) + hashOf(core);

const rowsOfMark = (mark: string): string => `${PLACEHOLDER}${hashOf(mark).slice(0, 16)}/`;

const hashOf = (text: string): string => createHash("sha256").update(text).digest("hex");
