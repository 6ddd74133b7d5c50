/** The version of this program, from its package. */
import { readFileSync } from "node:fs";
import { packageFile } from "./package.ts";

export const readVersion = (): string => {
  const parsed: unknown = JSON.parse(readFileSync(packageFile("package.json"), "utf8"));
  const known = typeof parsed === "object" && parsed !== null && "version" in parsed ? parsed.version : undefined;
  return typeof known === "string" ? known : "unknown";
};
