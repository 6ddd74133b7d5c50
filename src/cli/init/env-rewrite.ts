/**
 * Takes keys out of a `.env` file, with placeholders in their place. The file is replaced as a whole or not at all, and
 * there is no backup: a copy of the keys beside it is what this is for the end of.
 */
import { randomUUID } from "node:crypto";
import { readFileSync, realpathSync, type Stats, statSync } from "node:fs";
import { type EnvEntry, type EnvFile, readEnvFile } from "../../config/env-file.ts";
import { SidekeyError } from "../../core/errors.ts";
import { replaceFileNow, systemCode } from "../../core/whole-file.ts";

const PLAIN = /^[A-Za-z0-9_.-]+$/;
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

/** The text with these values replaced. Errors: INTERNAL (it would not be read as it should). */
export const withPlaceholders = (
  { text, entries, repeats }: EnvFile,
  placeholders: ReadonlyMap<EnvEntry, string>,
): string => {
  const places = [...placeholders].flatMap(([entry, placeholder]) =>
    [entry, ...repeats.filter(({ name }) => name === entry.name)].map((place) => ({ ...place, placeholder })),
  );
  let result = "";
  let at = 0;
  for (const { start, end, placeholder } of places.sort((a, b) => a.start - b.start)) {
    result += text.slice(at, start) + (PLAIN.test(placeholder) ? placeholder : `'${placeholder}'`);
    at = end;
  }
  result += text.slice(at);
  const expected = entries.map((entry) => `${entry.name}=${placeholders.get(entry) ?? entry.value}`);
  const { entries: read, problems } = readEnvFile(Buffer.from(result));
  const got = read.map(({ name, value }) => `${name}=${value}`);
  if (problems.length > 0 || got.join("\0") !== expected.join("\0")) {
    throw new SidekeyError("INTERNAL", { detail: "With placeholders in it, the .env file would be read differently." });
  }
  return result;
};

/** Lines, from 1, that hold one of these values all the same: in a comment, or as part of another. */
export const linesWith = (text: string, values: readonly string[]): readonly number[] =>
  text.split(/\r\n?|\n/).flatMap((line, index) => (values.some((value) => line.includes(value)) ? [index + 1] : []));

export interface FileToReplace {
  /** Without symbolic links. */
  readonly path: string;
  /** As it was read. */
  readonly bytes: Buffer;
  readonly stats: Stats;
  /** Hard links: they keep the old content. */
  readonly otherNames: number;
}

/** Errors: CONFIG_USAGE (not a file that can be replaced). */
export const fileToReplace = (path: string, bytes: Buffer): FileToReplace => {
  const real = realpathSync(path);
  const stats = statSync(real);
  if (stats.isFile()) return { path: real, bytes, stats, otherNames: stats.nlink - 1 };
  throw new SidekeyError("CONFIG_USAGE", {
    detail: `${path} is not a regular file, so its values cannot be replaced; nothing was changed.`,
    hint: "Take the keys and leave it as it is: --keep",
  });
};

/** Keeps owner and mode. Errors: CONFIG_USAGE (it changed meanwhile, or cannot be written). */
export const replaceFile = ({ path, bytes, stats }: FileToReplace, text: string): void => {
  const mark = bytes.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK) ? BYTE_ORDER_MARK : Buffer.alloc(0);
  const { mode, uid, gid } = stats;
  // Somebody's editor may have been quicker; what it wrote must not be lost.
  const check = (): void => {
    if (!readFileSync(path).equals(bytes)) throw unreplaced(path, "it was changed meanwhile");
  };
  try {
    const draft = `${path}.${randomUUID()}`;
    replaceFileNow(path, Buffer.concat([mark, Buffer.from(text)]), { draft, mode: mode & 0o777, uid, gid, check });
  } catch (error) {
    if (error instanceof SidekeyError) throw error;
    throw unreplaced(path, systemCode(error));
  }
};

const unreplaced = (path: string, why: string): SidekeyError =>
  new SidekeyError("CONFIG_USAGE", {
    detail: `${path} could not be replaced (${why}), and still holds the keys. They are in the vault, and the file is written.`,
    hint: "When that is mended, the same command again does the rest.",
  });
