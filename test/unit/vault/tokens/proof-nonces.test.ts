import { describe, expect, it } from "vitest";
import { NONCE_WINDOW_MS } from "../../../../src/vault/tokens/proof-nonces.ts";
import { openTestVault, START } from "../support.ts";

const judged = async (at: Awaited<ReturnType<typeof openTestVault>>, nonce: string): Promise<number | undefined> =>
  (await at.vault.proofNonces.judge())(nonce);

describe("vault.proofNonces", () => {
  it("takes a nonce in the window it was given out in and in the next, and then no more", async () => {
    const at = await openTestVault();
    const nonce = await at.vault.proofNonces.current();
    const end = START + 2 * NONCE_WINDOW_MS;
    expect(await judged(at, nonce)).toBe(end);
    at.clock.setWall(end - 1);
    expect(await judged(at, nonce)).toBe(end);
    at.clock.setWall(end);
    expect(await judged(at, nonce)).toBeUndefined();
  });

  it("takes one that another process of the store gave out, whose clock may be a little ahead", async () => {
    const one = await openTestVault();
    const other = await openTestVault(one);
    const nonces = await Promise.all([one, other].map(({ vault }) => vault.proofNonces.current()));
    expect(new Set(nonces).size).toBe(1);
    one.clock.advance(NONCE_WINDOW_MS);
    const ahead = await other.vault.proofNonces.current();
    one.clock.setWall(START);
    expect(await judged(one, ahead)).toBe(START + 3 * NONCE_WINDOW_MS);
    one.clock.setWall(START - 1);
    expect(await judged(one, ahead)).toBeUndefined();
  });

  it("takes none of another store, none that was changed, and no other text", async () => {
    const at = await openTestVault();
    const other = await openTestVault();
    const nonce = await at.vault.proofNonces.current();
    expect(await judged(other, nonce)).toBeUndefined();
    const [window = "", mac = ""] = nonce.split(".");
    const later = (Number.parseInt(window, 36) + 1).toString(36);
    const texts = ["", ".", mac, `${window}.`, `${later}.${mac}`, `${nonce} `, `${window}.${mac}x`, `-1.${mac}`];
    for (const text of texts) expect(await judged(at, text), text).toBeUndefined();
  });
});
