/** Secrets of every shape that the scrubber must hide, all of them values that a source would accept. */

const repeatable = (length: number): string => {
  // A linear congruential generator: the same on every run, and no part of it occurs twice.
  let state = 0x2545f491;
  return Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"[(state >>> 8) % 62] ?? "";
  }).join("");
};

export const SHAPES: Readonly<Record<string, Buffer>> = {
  "a vendor's key": Buffer.from("sk-proj-CANARY0aZ9kTqW3xY7Lm2Vb8Nc"),
  "a password with punctuation": Buffer.from(`p@ss"w\\ord'<&>%+ /é`),
  "a JSON value": Buffer.from(`{"k":"v4l-CANARY","n":[1,2],"u":"a\\/b"}`),
  "4 KB": Buffer.from(`long-${repeatable(4091)}`),
  "8 characters": Buffer.from("q7Zr-2Xk"),
  "bytes beyond ASCII": Buffer.from("9f41c3a9ff80b37be0fe5ad1c2e99000".replace("00", "77"), "hex"),
};
