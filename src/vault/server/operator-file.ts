/** Provisional: one operator key, as its hash in the state directory, until agents have rows of their own. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PRIVATE_MODE, publishFile } from "../../core/whole-file.ts";

export interface OperatorFile {
  matches(key: string): boolean;
}

const fileIn = (state: string): string => join(state, "operator.sha256");
const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

export const makeOperatorKey = async (state: string): Promise<string> => {
  const key = `ask_op_${randomBytes(32).toString("base64url")}`;
  await publishFile(fileIn(state), digest(key).toString("hex"), PRIVATE_MODE);
  return key;
};

/** Undefined: there is none. */
export const openOperatorFile = (state: string): OperatorFile | undefined => {
  if (!existsSync(fileIn(state))) return undefined;
  const known = Buffer.from(readFileSync(fileIn(state), "utf8"), "hex");
  return { matches: (key) => timingSafeEqual(digest(key), known) };
};
