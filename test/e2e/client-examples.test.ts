/** Runs every example of docs/client.md, as a program that has the package installed, and holds its comments to what it prints. */
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cleanEnvironment } from "../support/program.ts";
import { type BuiltVault, startBuiltVault } from "../support/vault/built-vault.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const ROOT = join(import.meta.dirname, "../..");
/** Each under the heading above it. */
const EXAMPLES = readFileSync(join(ROOT, "docs/client.md"), "utf8")
  .split(/^## /m)
  .flatMap((section) =>
    [...section.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map(([, code = ""]) => ({
      heading: section.split("\n")[0] ?? "",
      code,
    })),
  );

let vault: BuiltVault;
let work: Workspace;
beforeAll(async () => {
  vault = await startBuiltVault();
  work = createWorkspace();
  mkdirSync(work.at("node_modules"));
  symlinkSync(ROOT, work.at("node_modules/sidekey"));
});
afterAll(async () => {
  work?.remove();
  await vault?.close();
});

describe("docs/client.md", () => {
  it("has examples", () => {
    expect(EXAMPLES.length).toBeGreaterThanOrEqual(4);
  });

  it.each(EXAMPLES)("is right about: $heading", async ({ heading, code }) => {
    const file = work.write(`${heading.replaceAll(/\W+/g, "-")}.mjs`, code);
    const { stdout } = await promisify(execFile)(process.execPath, [file], {
      env: cleanEnvironment({ VAULT_ADDRESS: vault.address, ASS_API_KEY: vault.operatorKey }),
    });
    const promised = [...code.matchAll(/; \/\/ (.*)$/gm)].map(([, text]) => text);
    expect(stdout.trimEnd().split("\n")).toEqual(promised);
  });
});
