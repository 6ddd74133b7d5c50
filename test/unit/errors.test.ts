/** The code table, walked: every code is documented, and thrown somewhere or known to come later. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ERROR_TABLE, type ErrorCode } from "../../src/core/errors.ts";
import { LATER_CODES, renderErrorReference } from "../support/references/error-reference.ts";

const ROOT = join(import.meta.dirname, "../..");
const CODES = Object.keys(ERROR_TABLE) as ErrorCode[];

const textsOf = (folder: string, except: (path: string) => boolean): readonly string[] =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts") && !except(path))
    .map((path) => readFileSync(join(ROOT, folder, path), "utf8"));

const isNamed = (code: ErrorCode, texts: readonly string[]): boolean =>
  texts.some((text) => text.includes(`"${code}"`));

describe("the code table", () => {
  const sources = textsOf("src", (path) => path === "core/errors.ts");

  it("is what docs/errors.md says", async () => {
    const reference = renderErrorReference();
    for (const code of CODES) expect(reference).toContain(`\`${code}\``);
    await expect(reference).toMatchFileSnapshot("../../docs/errors.md");
  });

  it("has no code that nothing throws, but for those of later versions", () => {
    const unused = CODES.filter((code) => !isNamed(code, sources));
    expect(unused.sort()).toEqual([...LATER_CODES].sort());
  });

  it("is the only place for codes: no source names one that is not in it", () => {
    const named = new Set(
      sources.flatMap((text) => [...text.matchAll(/new SidekeyError\(\s*"([A-Z_]+)"/g)].map(([, code = ""]) => code)),
    );
    expect(named.size).toBeGreaterThan(20);
    expect([...named].filter((code) => !Object.hasOwn(ERROR_TABLE, code))).toEqual([]);
  });

  it.each(CODES)("%s has a status that fits, and sentences", (code) => {
    const { status, message, hint } = ERROR_TABLE[code];
    expect(status).toBeGreaterThanOrEqual(400);
    expect(status).toBeLessThan(600);
    expect(message).toMatch(/^[A-Z].*\.$/);
    expect(hint).toMatch(/^[A-Z]/);
  });
});
