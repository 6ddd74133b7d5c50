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
  /** Some form contains this byte. */
  contains(byte: number): boolean;
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
  const bytes = new Uint8Array(256);
  for (const form of forms) for (const byte of form) bytes[byte] = 1;
  return { longest, shortest, contains: (byte) => bytes[byte] === 1, find };
};

/** Finds what either of the two finds, what both find twice. */
export const eitherMatcher = (one: Matcher, other: Matcher): Matcher => ({
  longest: Math.max(one.longest, other.longest),
  shortest: Math.min(one.shortest || other.shortest, other.shortest || one.shortest),
  contains: (byte) => one.contains(byte) || other.contains(byte),
  find(buffer, from, to, onMatch) {
    one.find(buffer, from, to, onMatch);
    other.find(buffer, from, to, onMatch);
  },
});

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
  const tree = createTree();
  /** By hash: the branch of the forms that may begin here. Typed arrays throughout: a map costs more than all the rest. */
  const candidates = new Int32Array(2 ** bits);
  for (const [hash, bucket] of buckets) candidates[hash] = tree.add(bucket);
  const follow = tree.compile();

  return (buffer, from, to, onMatch) => {
    let end = from + window - 1;
    while (end < to) {
      const hash = hashBlock(buffer[end - 2] ?? 0, buffer[end - 1] ?? 0, buffer[end] ?? 0) >>> unused;
      const shift = shifts[hash] ?? 0;
      if (shift !== 0) {
        end += shift;
        continue;
      }
      const branch = candidates[hash] ?? NONE;
      if (branch !== NONE) follow(branch, buffer, end - window + 1, to, onMatch);
      end++;
    }
  };
};

/** Multiplicative: the upper bits of the product depend on all three bytes. */
const hashBlock = (a: number, b: number, c: number): number => Math.imul((a << 16) | (b << 8) | c, 0x9e3779b1);

/** No branch. */
const NONE = 0;
/** Fields of a branch before its children: offset and number of its bytes, whether a form ends behind them, its children. */
const FIELDS = 4;
/** More children than this are a table by byte; fewer, pairs of byte and branch to look through. */
const MANY = 6;

interface Tree {
  /** Forms that differ from each other; returns their branch. */
  add(forms: readonly Buffer[]): number;
  /** Reports every form of a branch that stands at `start`. */
  compile(): (branch: number, buffer: Buffer, start: number, to: number, onMatch: OnMatch) => void;
}

/**
 * Forms with a common beginning, which is compared once for all of them: keys of one vendor share a prefix that an agent
 * knows and can have repeated at will. All branches lie in one array of numbers, all bytes in another.
 */
const createTree = (): Tree => {
  const numbers: number[] = [NONE];
  const pieces: Buffer[] = [];
  let bytesSoFar = 0;

  /** The forms are equal up to `from`. */
  const addFrom = (forms: readonly Buffer[], from: number): number => {
    const [first = Buffer.alloc(0)] = forms;
    let to = forms.length === 1 ? first.length : from;
    while (to < first.length && forms.every((form) => form[to] === first[to])) to++;
    const following = new Map<number, Buffer[]>();
    for (const form of forms) {
      const byte = form[to];
      if (byte !== undefined) following.set(byte, [...(following.get(byte) ?? []), form]);
    }
    const isTable = following.size > MANY;
    const branch = numbers.length;
    const isComplete = forms.some((form) => form.length === to);
    numbers.push(bytesSoFar, to - from, isComplete ? 1 : 0, isTable ? -1 : following.size);
    numbers.push(...new Array<number>(isTable ? 256 : following.size * 2).fill(NONE));
    pieces.push(first.subarray(from, to));
    bytesSoFar += to - from;
    let at = branch + FIELDS;
    for (const [byte, rest] of following) {
      if (isTable) {
        numbers[branch + FIELDS + byte] = addFrom(rest, to);
      } else {
        numbers[at] = byte;
        numbers[at + 1] = addFrom(rest, to);
        at += 2;
      }
    }
    return branch;
  };

  return {
    add: (forms) => addFrom(forms, 0),
    compile() {
      const branches = Int32Array.from(numbers);
      const bytes = new Uint8Array(Buffer.concat(pieces));

      const child = (branch: number, byte: number): number => {
        const count = branches[branch + 3] ?? 0;
        if (count < 0) return branches[branch + FIELDS + byte] ?? NONE;
        const end = branch + FIELDS + count * 2;
        for (let at = branch + FIELDS; at < end; at += 2) if (branches[at] === byte) return branches[at + 1] ?? NONE;
        return NONE;
      };

      return (root, buffer, start, to, onMatch) => {
        let at = start;
        for (let branch = root; branch !== NONE; branch = child(branch, buffer[at] ?? 0)) {
          let own = branches[branch] ?? 0;
          const end = at + (branches[branch + 1] ?? 0);
          if (end > to) return;
          while (at < end) if (buffer[at++] !== bytes[own++]) return;
          if (branches[branch + 2] === 1) onMatch(start, at);
          if (at >= to) return;
        }
      };
    },
  };
};
