/**
 * What each row has to be, by short tags that the sum's hash key makes, so that a row that was put back is noticed when it
 * is read and not when all rows are gone through. It begins with the tags of a store that was found whole, and goes on
 * with the changes of each write, which the sum's row tells (integrity.ts). Holds neither a row's name nor its content.
 */

/** Of a row that is not there. */
export const ABSENT = 0;

/** Of names and of rows: 48 bits. */
export type Tag = number;

/** One write. */
export interface Step {
  readonly generation: number;
  /** By the tags of names; undefined: too many to tell. */
  readonly changes: readonly (readonly [Tag, Tag])[] | undefined;
}

/** The tags of all rows of one generation. */
export interface Whole {
  readonly generation: number;
  readonly tags: Map<Tag, Tag>;
}

/** What a row has to be; undefined: not known. */
export type View = (name: Tag) => Tag | undefined;

export interface Ledger {
  /** Whether it follows the store. */
  readonly isKnown: boolean;
  /** Writes up to this generation need not be told it any more. */
  readonly heard: number;
  /** `recent` are the writes before `generation`, that one too, as far as they are told. False: it has lost the thread. */
  advance(generation: number, recent: readonly Step[]): boolean;
  /** Undefined: it is not known, or not any more. `recent`: writes that it has not taken in. */
  at(generation: number, recent?: readonly Step[]): View | undefined;
  /** All rows are gone through from that generation on; what it hears meanwhile goes into the result. */
  startFilling(generation: number): (tags: Map<Tag, Tag>) => void;
}

/** Reads of a moment ago are still judged by what was right then. */
const MAX_UNDONE = 256;

interface Undone {
  readonly generation: number;
  readonly before: ReadonlyMap<Tag, Tag>;
}

/** The writes from `after` on to `to`, none missing; undefined: some are. */
const between = (after: number, to: number, recent: readonly Step[]): readonly Step[] | undefined => {
  const steps = recent.filter(({ generation }) => generation > after && generation <= to);
  return steps.length === to - after && steps.every(({ changes }) => changes !== undefined) ? steps : undefined;
};

const putTag = (tags: Map<Tag, Tag>, name: Tag, tag: Tag): void => {
  if (tag === ABSENT) tags.delete(name);
  else tags.set(name, tag);
};

export const createLedger = (): Ledger => {
  let known: { at: number; readonly tags: Map<Tag, Tag>; readonly undone: Undone[] } | undefined;
  /** Changes since all rows began to be gone through. */
  let filling: { at: number; readonly changes: Map<Tag, Tag> } | undefined;

  const advanceFilling = (generation: number, recent: readonly Step[]): void => {
    if (filling === undefined || generation <= filling.at) return;
    const steps = between(filling.at, generation, recent);
    if (steps === undefined) {
      filling = undefined;
      return;
    }
    for (const { changes = [] } of steps) for (const [name, tag] of changes) filling.changes.set(name, tag);
    filling.at = generation;
  };

  return {
    get isKnown() {
      return known !== undefined;
    },
    get heard() {
      const all = [known, filling].flatMap((one) => (one === undefined ? [] : [one.at]));
      return all.length === 0 ? Number.MAX_SAFE_INTEGER : Math.min(...all);
    },
    advance(generation, recent) {
      advanceFilling(generation, recent);
      if (known === undefined) return false;
      if (generation <= known.at) return true;
      const steps = between(known.at, generation, recent);
      if (steps === undefined) {
        known = undefined;
        return false;
      }
      for (const step of steps) {
        const before = new Map<Tag, Tag>();
        for (const [name, tag] of step.changes ?? []) {
          if (!before.has(name)) before.set(name, known.tags.get(name) ?? ABSENT);
          putTag(known.tags, name, tag);
        }
        known.undone.push({ generation: step.generation, before });
      }
      known.undone.splice(0, Math.max(0, known.undone.length - MAX_UNDONE));
      known.at = generation;
      return true;
    },
    at(generation, recent = []) {
      if (known === undefined) return undefined;
      const { at, tags, undone } = known;
      if (generation === at) return (name) => tags.get(name) ?? ABSENT;
      if (generation > at) {
        const steps = between(at, generation, recent);
        if (steps === undefined) return undefined;
        const later = new Map(steps.flatMap(({ changes = [] }) => changes));
        return (name) => later.get(name) ?? tags.get(name) ?? ABSENT;
      }
      const since = undone.filter((step) => step.generation > generation);
      if (since.length !== at - generation) return undefined;
      return (name) => since.find(({ before }) => before.has(name))?.before.get(name) ?? tags.get(name) ?? ABSENT;
    },
    startFilling(generation) {
      const mine = { at: generation, changes: new Map<Tag, Tag>() };
      filling = mine;
      return (tags) => {
        // Another one has begun since, or the thread was lost.
        if (filling !== mine) return;
        filling = undefined;
        if (known !== undefined && known.at > mine.at) return;
        for (const [name, tag] of mine.changes) putTag(tags, name, tag);
        known = { at: mine.at, tags, undone: [] };
      };
    },
  };
};
