/** Every real client of the table under `sidekey run`, and docs/clients.md, which is printed from it. */
import { existsSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { readVersions, renderClientReference } from "../support/client-reference.ts";
import type { Finished } from "../support/program.ts";
import { headOf } from "../support/stand-ins/git.ts";
import { createStage, KEY_FORMS, type Stage } from "../support/stand-ins/stage.ts";
import { buildGoClient, CLIENTS, type Client, printed } from "./clients/table.ts";

/** With SIDEKEY_TEST_ALL=1 a client that is missing is a failure. */
const all = process.env["SIDEKEY_TEST_ALL"] === "1";

let stage: Stage;
let before = 0;
/** Meanwhile the others run. */
let goClient: Promise<unknown> | undefined;
beforeAll(async () => {
  stage = await createStage();
  if (all || printed("go", "version")() !== undefined) {
    goClient = buildGoClient(stage.work.at("go-client")).catch((error: unknown) => error);
  }
});
afterAll(() => stage.close());
beforeEach(() => {
  before = stage.standIns.received.length;
});

const received = () => stage.standIns.received.slice(before);

const expectNoKey = ({ stdout, stderr }: Finished): void => {
  for (const form of KEY_FORMS) expect(stdout + stderr).not.toContain(form);
};

const withoutNote = (stderr: string): string => stderr.replace(/^sidekey: same user: .*\n/, "");

const expectInOrder = (text: string, pieces: readonly string[]): void => {
  let from = 0;
  for (const piece of pieces) {
    const at = text.indexOf(piece, from);
    expect(at, `"${piece}" in:\n${text.slice(from)}`).not.toBe(-1);
    from = at + piece.length;
  }
};

const check = (client: Client, result: Finished): void => {
  expect({ code: result.code, stderr: withoutNote(result.stderr) }).toEqual({ code: 0, stderr: "" });
  expectInOrder(result.stdout, client.output);
  expectNoKey(result);
  const calls = received().map(({ host, line }) => `${host} ${line}`);
  if (client.calls instanceof RegExp) expect(calls.map((call) => `${call}\n`).join("")).toMatch(client.calls);
  else expect(calls).toEqual(client.calls);
  expect(received().filter(({ authorized }) => !authorized)).toEqual([]);
};

describe("under sidekey run", () => {
  for (const client of CLIENTS) {
    const missing = !all && client.version() === undefined;
    it.skipIf(missing)(
      `${client.name} works with a key that it never sees${missing ? " (skipped: not on this machine)" : ""}`,
      async () => {
        if (client.name.startsWith("Go ")) expect(await goClient).toBeUndefined();
        const result = await stage.run(client.command);
        check(client, result);
        if (client.name === "git") expect(result.stdout).toContain(`${headOf(stage.repository)}\n`);
      },
      180_000,
    );
  }
});

describe("the AWS CLI, whose requests are signed", () => {
  const run = (...args: readonly string[]) =>
    stage.run(["aws", "--region", "eu-west-1", ...args], { AWS_EC2_METADATA_DISABLED: "true", AWS_MAX_ATTEMPTS: "1" });
  const missing = !all && printed("aws", "--version")() === undefined;
  const skipped = missing ? " (skipped: not on this machine)" : "";

  it.skipIf(missing)(`says itself that it has no credentials${skipped}`, async () => {
    const result = await run("sts", "get-caller-identity");
    expect(result.code).not.toBe(0);
    expect(result.stderr).toContain("Unable to locate credentials");
    expect(received()).toEqual([]);
  });

  it.skipIf(missing)(`is refused what it sends unsigned, on record${skipped}`, async () => {
    const result = await run("s3api", "list-objects-v2", "--bucket", "any", "--no-sign-request");
    expect(result.code).not.toBe(0);
    expect(result.stderr).toMatch(/proxy/i);
    expect(received()).toEqual([]);
    const audit = await stage.work.sidekey(["audit", "search", "--type", "refusal", "--json"]);
    expect(audit.stdout).toContain('"code":"POLICY_NO_ROUTE"');
    expect(audit.stdout).toContain("amazonaws.com");
  });
});

describe("docs/clients.md", () => {
  const file = new URL("../../docs/clients.md", import.meta.url);

  it("is what the table says; with -u it gets the versions of this machine", async () => {
    const present = readVersions(existsSync(file) ? readFileSync(file, "utf8") : "");
    const here = (): Record<string, string> =>
      Object.fromEntries(CLIENTS.flatMap((client) => [[client.name, client.version()]]).filter(([, v]) => v)) as Record<
        string,
        string
      >;
    // Another machine has others: that alone is no reason to fail.
    const versions = isRenewed() ? { ...present, ...here() } : present;
    expect(CLIENTS.map(({ name }) => name).filter((name) => versions[name] === undefined)).toEqual([]);
    await expect(renderClientReference(CLIENTS, versions)).toMatchFileSnapshot("../../docs/clients.md");
  });
});

/** Whether vitest runs with -u. */
const isRenewed = (): boolean => {
  const state: unknown = expect.getState().snapshotState;
  return typeof state === "object" && state !== null && Reflect.get(state, "_updateSnapshot") === "all";
};
