/** `.env` files as commands take them: read whole, up to a limit. */
import { createReadStream } from "node:fs";
import { SidekeyError } from "../core/errors.ts";

/** A pipe is read too, so it is not asked for its size. Errors: CONFIG_USAGE. */
export const readUpTo = async (path: string, limit: number): Promise<Buffer> => {
  try {
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of createReadStream(path)) {
      chunks.push(chunk);
      size += chunk.length;
      if (size >= limit) break;
    }
    return Buffer.concat(chunks).subarray(0, limit);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    throw new SidekeyError("CONFIG_USAGE", {
      detail: `${path} cannot be read (${code}).`,
      hint: "Check the path and its mode; - is standard input.",
      cause: error,
    });
  }
};
