/** What the processes of store-process.ts write: each value names its writer and its turn, and is long enough to be torn. */

/** Secrets of one writer. */
export const PATHS = 6;

export const pathOf = (writer: string, turn: number): string => `load/${writer}/s${turn % PATHS}`;

export const expectedValue = (writer: string, turn: number): string =>
  `${writer}:${turn}:${`${writer}${turn}.`.repeat(400)}`;

/** The turn that a whole value was written in; undefined when it is no whole one. */
export const turnOf = (writer: string, value: string): number | undefined => {
  const turn = Number(value.split(":")[1]);
  return value === expectedValue(writer, turn) ? turn : undefined;
};
