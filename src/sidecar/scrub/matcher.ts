/**
 * Finds every occurrence of any of many byte strings in one pass (Wu and Manber's shift table), faster than reading
 * every byte. It knows nothing of secrets or streams. Its time grows with the text alone: a text made of near matches
 * costs a comparison per place, bounded by the longest form.
 */

/** Called for every match, overlapping ones too, as half-open offsets in the searched buffer, in no fixed order. */
export type OnMatch = (start: number, end: number) => void;

export interface Matcher {
  /** Bytes of the longest form; 0 when there is none. */
  readonly longest: number;
  /** Bytes of the shortest form; 0 when there is none. */
  readonly shortest: number;
  /** Looks at `buffer[from, to)` only. */
  find(buffer: Buffer, from: number, to: number, onMatch: OnMatch): void;
}

/** Bytes hashed together. Pairs repeat too often in text; triples of a few hundred forms leave the table mostly empty. */
const BLOCK = 3;
/** Shifts are kept in one byte each. */
const MAX_WINDOW = 255;
const MIN_TABLE_BITS = 12;
const MAX_TABLE_BITS = 18;
/** Slots of the table for each block that fills one: fewer full slots, longer shifts. */
const SLOTS_PER_BLOCK = 8;

/** Compiles forms of at least 3 bytes, without duplicates. The forms must not change afterwards. */
export const compileMatcher = (forms: readonly Buffer[]): Matcher => {
  const lengths = forms.map((form) => form.length);
  const longest = Math.max(0, ...lengths);
  const shortest = forms.length === 0 ? 0 : Math.min(...lengths);
  if (forms.length > 0 && shortest < BLOCK) throw new TypeError(`a form is shorter than ${BLOCK} bytes`);
  const find = forms.length <= 2 ? searchEach(forms) : searchTogether(forms, shortest);
  return { longest, shortest, find };
};

const searchEach =
  (forms: readonly Buffer[]): Matcher["find"] =>
  (buffer, from, to, onMatch) => {
    const text = buffer.subarray(from, to);
    for (const form of forms) {
      for (let at = text.indexOf(form); at !== -1; at = text.indexOf(form, at + 1)) {
        onMatch(from + at, from + at + form.length);
      }
    }
  };

/**
 * A window as long as the shortest form moves over the text. The hash of its last block says how far it may move
 * without passing a form's beginning; 0 means that a form may begin at the window's start, and the few forms with that
 * block there are compared.
 */
const searchTogether = (forms: readonly Buffer[], shortest: number): Matcher["find"] => {
  const window = Math.min(shortest, MAX_WINDOW);
  const blocks = forms.length * (window - BLOCK + 1);
  const bits = Math.min(MAX_TABLE_BITS, Math.max(MIN_TABLE_BITS, Math.ceil(Math.log2(blocks * SLOTS_PER_BLOCK))));
  const unused = 32 - bits;
  const shifts = new Uint8Array(2 ** bits).fill(window - BLOCK + 1);
  /** Forms whose window ends with a block of that hash. */
  const buckets = new Map<number, Buffer[]>();

  for (const form of forms) {
    for (let end = BLOCK - 1; end < window; end++) {
      const hash = hashBlock(form[end - 2] ?? 0, form[end - 1] ?? 0, form[end] ?? 0) >>> unused;
      shifts[hash] = Math.min(shifts[hash] ?? 0, window - 1 - end);
      if (end === window - 1) buckets.set(hash, [...(buckets.get(hash) ?? []), form]);
    }
  }
  /** By hash: place in `roots`, from 1; a typed array, because a map costs more than all the rest. */
  const candidates = new Uint32Array(2 ** bits);
  const roots: (Branch | undefined)[] = [undefined];
  for (const [hash, bucket] of buckets) candidates[hash] = roots.push(createBranch(bucket, 0)) - 1;

  return (buffer, from, to, onMatch) => {
    let end = from + window - 1;
    while (end < to) {
      const hash = hashBlock(buffer[end - 2] ?? 0, buffer[end - 1] ?? 0, buffer[end] ?? 0) >>> unused;
      const shift = shifts[hash] ?? 0;
      if (shift !== 0) {
        end += shift;
        continue;
      }
      const branch = roots[candidates[hash] ?? 0];
      if (branch !== undefined) follow(branch, buffer, end - window + 1, to, onMatch);
      end++;
    }
  };
};

/** Multiplicative: the upper bits of the product depend on all three bytes. */
const hashBlock = (a: number, b: number, c: number): number => Math.imul((a << 16) | (b << 8) | c, 0x9e3779b1);

/**
 * Forms with a common beginning, which is compared once for all of them: keys of one vendor share a prefix that an agent
 * knows and can have repeated at will.
 */
interface Branch {
  /** What all forms of this branch go on with. */
  readonly bytes: Buffer;
  /** A form ends behind `bytes`. */
  readonly complete: boolean;
  /** Place in `next` by the byte that follows, from 1; undefined: nothing follows. */
  readonly places: Uint16Array | undefined;
  readonly next: readonly (Branch | undefined)[];
}

/** The forms are equal up to `from`, and different from each other. */
const createBranch = (forms: readonly Buffer[], from: number): Branch => {
  const [first = Buffer.alloc(0)] = forms;
  let to = forms.length === 1 ? first.length : from;
  while (to < first.length && forms.every((form) => form[to] === first[to])) to++;
  const following = new Map<number, Buffer[]>();
  for (const form of forms) {
    const byte = form[to];
    if (byte !== undefined) following.set(byte, [...(following.get(byte) ?? []), form]);
  }
  const places = following.size === 0 ? undefined : new Uint16Array(256);
  const next: (Branch | undefined)[] = [undefined];
  for (const [byte, rest] of following) {
    if (places !== undefined) places[byte] = next.length;
    next.push(createBranch(rest, to));
  }
  return { bytes: first.subarray(from, to), complete: forms.some((form) => form.length === to), places, next };
};

const follow = (root: Branch, buffer: Buffer, start: number, to: number, onMatch: OnMatch): void => {
  let at = start;
  for (let branch: Branch | undefined = root; branch !== undefined; ) {
    const { bytes, places }: Branch = branch;
    const length = bytes.length;
    if (at + length > to) return;
    for (let i = 0; i < length; i++) if (buffer[at + i] !== bytes[i]) return;
    at += length;
    if (branch.complete) onMatch(start, at);
    if (at >= to || places === undefined) return;
    branch = branch.next[places[buffer[at] ?? 0] ?? 0];
  }
};
