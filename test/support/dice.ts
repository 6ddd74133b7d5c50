/** Chance that is the same in each run, for tests that throw what nobody would think of. */

/** A whole number from 0 on, below the one given. */
export type Dice = (below: number) => number;

/** Mulberry32 (T. Ettinger, public domain). */
export const diceOf = (seed: number): Dice => {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
};

export const oneOf = <T>(dice: Dice, all: readonly [T, ...T[]]): T => all[dice(all.length)] ?? all[0];
