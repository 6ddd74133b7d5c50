/**
 * Secrets from files below one directory, as orchestrators mount them. Links may point around inside the directory
 * (Kubernetes does so to swap files at once) and must never lead out of it.
 */
import { constants } from "node:fs";
import { type FileHandle, open, realpath } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import * as z from "zod";
import { SidekeyError } from "../../../core/errors.ts";
import type { Kind } from "../../../core/kind.ts";
import { cutTrailingNewline, MAX_SECRET_BYTES } from "../../../core/secret-bytes.ts";
import type { SecretSource, SourceDeps } from "../source.ts";
import { checkedSecret } from "../value-check.ts";

const fields = z.strictObject({
  kind: z.literal("file"),
  root: z.string().min(1).describe("Directory that every PATH is below."),
});

/** One more than a value and its line end can have: what fills it is too large. */
const READ_BYTES = MAX_SECRET_BYTES + 3;
/** Non-blocking for a FIFO in a file's place; the real path has no link left to follow. */
const OPEN_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;

export const file: Kind<"file", typeof fields, SourceDeps, SecretSource> = {
  kind: "file",
  fields,
  summary: "A file below `root`; one trailing newline is cut.",
  create({ root }, { name, baseDir }) {
    const directory = resolve(baseDir, root);
    return {
      name,
      async fetch(ref) {
        if (ref.version !== undefined) {
          throw new SidekeyError("SOURCE_SECRET_MISSING", { detail: `${ref.text}: files have no versions.` });
        }
        const path = await realPathBelow(directory, ref.path);
        const bytes = await readRegularFile(path);
        return { value: checkedSecret(cutTrailingNewline(bytes), ref) };
      },
    };
  },
};

const realPathBelow = async (root: string, path: string): Promise<string> => {
  const named = join(root, path);
  if (path.includes("\0") || !named.startsWith(below(root))) throw outside(named);
  const realRoot = await realpath(root).catch((error: unknown) => {
    throw new SidekeyError("SOURCE_UNAVAILABLE", {
      detail: `The directory ${root} cannot be read (${codeOf(error)}).`,
    });
  });
  const real = await realpath(named).catch((error: unknown) => {
    throw failure(named, error);
  });
  if (!real.startsWith(below(realRoot))) throw outside(named);
  return real;
};

const below = (directory: string): string => (directory.endsWith(sep) ? directory : directory + sep);

const readRegularFile = async (path: string): Promise<Buffer> => {
  let handle: FileHandle;
  try {
    handle = await open(path, OPEN_FLAGS);
  } catch (error) {
    throw failure(path, error);
  }
  try {
    if (!(await handle.stat()).isFile()) {
      throw new SidekeyError("SOURCE_UNAVAILABLE", { detail: `${path} is not a regular file.` });
    }
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(READ_BYTES), 0, READ_BYTES, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
};

const outside = (path: string): SidekeyError =>
  new SidekeyError("SOURCE_FORBIDDEN", { detail: `${path} is not below the source's root.` });

const failure = (path: string, error: unknown): SidekeyError => {
  const code = codeOf(error);
  const detail = `${path} cannot be read (${code}).`;
  if (code === "ENOENT" || code === "ENOTDIR") {
    return new SidekeyError("SOURCE_SECRET_MISSING", { detail, hint: "Put the secret into that file." });
  }
  return new SidekeyError(code === "EACCES" || code === "EPERM" ? "SOURCE_FORBIDDEN" : "SOURCE_UNAVAILABLE", {
    detail,
  });
};

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "unknown";
