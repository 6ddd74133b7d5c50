/** The version of this program, from its package. */
import { readFileSync } from "node:fs";

export const readVersion = (): string => {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  const parsed: unknown = JSON.parse(text);
  const known = typeof parsed === "object" && parsed !== null && "version" in parsed ? parsed.version : undefined;
  return typeof known === "string" ? known : "unknown";
};
