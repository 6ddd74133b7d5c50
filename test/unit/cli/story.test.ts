/** Every command has its line in the story that test/e2e/story.test.ts types, and interface.md's are all there or known. */
import { describe, expect, it } from "vitest";
import { COMMANDS } from "../../../src/cli/commands/index.ts";
import { STORY } from "../../support/story.ts";

/** interface.md, section 5. */
const REFERENCE = [
  ...["start", "run", "check", "explain", "test", "status", "reload", "env", "identity", "doctor", "init"],
  ...["set", "get", "list", "rm", "history", "rotate", "import"].map((leaf) => `secret ${leaf}`),
  ...["init", "serve", "backup", "restore", "rekey"].map((leaf) => `vault ${leaf}`),
  ...["create", "list", "revoke"].map((leaf) => `agent ${leaf}`),
  ...["issue", "list", "revoke", "inspect"].map((leaf) => `token ${leaf}`),
  ...["list", "approve", "deny"].map((leaf) => `approval ${leaf}`),
  ...["tail", "search", "verify"].map((leaf) => `audit ${leaf}`),
  ...["print", "export", "rotate"].map((leaf) => `ca ${leaf}`),
];

describe("the story of all commands", () => {
  const told = new Set(STORY.map(({ command }) => command));
  const names = COMMANDS.map(({ name }) => name);

  it.each(names)("has a line for '%s': without one in test/support/story.ts nobody has seen it run", (name) => {
    expect(told.has(name)).toBe(true);
  });

  it("tells of no command that is not there", () => {
    expect([...told].filter((name) => !names.includes(name))).toEqual([]);
  });

  it("is of an interface whose commands are all built", () => {
    expect(REFERENCE.filter((name) => !names.includes(name))).toEqual([]);
  });
});
