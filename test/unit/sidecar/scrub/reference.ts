/** What the scrubber must do, written as slowly and as differently as possible: a map of the text's bytes. */

export interface ReferenceResult {
  readonly text: Buffer;
  readonly reflected: number;
}

export const redactSlowly = (text: Buffer, forms: readonly Buffer[]): ReferenceResult => {
  const covered = new Array<boolean>(text.length).fill(false);
  /** Some match covers this byte and the one before it. */
  const continued = new Array<boolean>(text.length).fill(false);
  for (let at = 0; at < text.length; at++) {
    for (const form of forms) {
      if (form.compare(text, at, Math.min(text.length, at + form.length)) !== 0) continue;
      covered.fill(true, at, at + form.length);
      continued.fill(true, at + 1, at + form.length);
    }
  }
  let reflected = 0;
  let mark = "";
  let out = "";
  for (let at = 0; at < text.length; at++) {
    if (covered[at] !== true) {
      out += String.fromCharCode(text[at] ?? 0);
      continue;
    }
    if (continued[at] !== true) {
      mark = "[redacted]";
      reflected++;
    }
    out += mark.slice(0, 1) || "*";
    mark = mark.slice(1);
  }
  return { text: Buffer.from(out, "latin1"), reflected };
};

/** Bytes that may be out after each chunk: up to the last line feed, or all but the last `hold`; all at the end. */
export const releasedAfter = (
  chunks: readonly Buffer[],
  longest: number,
  contentLength?: number,
): readonly number[] => {
  const all = Buffer.concat(chunks);
  let received = 0;
  return chunks.map((chunk) => {
    received += chunk.length;
    if (contentLength !== undefined && received >= contentLength) return received;
    const lineFeed = all.subarray(0, received).lastIndexOf(0x0a);
    return Math.max(0, lineFeed + 1, received - Math.max(0, longest - 1));
  });
};

/** Cuts `text` at the given places, in any order, some perhaps out of range. */
export const cutAt = (text: Buffer, places: readonly number[]): readonly Buffer[] => {
  const cuts = [...new Set([0, ...places.filter((p) => p > 0 && p < text.length), text.length])].sort((a, b) => a - b);
  // Copies, because the scrubber overwrites its chunks in place.
  return cuts.slice(1).map((to, i) => Buffer.from(text.subarray(cuts[i] ?? 0, to)));
};
