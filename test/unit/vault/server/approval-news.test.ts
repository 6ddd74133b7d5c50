import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Log } from "../../../../src/core/log.ts";
import { parseScopes } from "../../../../src/identity/scope.ts";
import { DEFAULT_APPROVALS, type Vault } from "../../../../src/vault/index.ts";
import {
  type ApprovalTeller,
  createApprovalTeller,
  HOLD_MS,
  RETRY_AFTER_MS,
} from "../../../../src/vault/server/approval-news.ts";
import { openLmdb } from "../../../../src/vault/storage/lmdb.ts";
import { afterTest, createTestClock, openTestVault, type TestClock, temporaryDirectory } from "../support.ts";
import { type Received, receiver, status } from "../webhook-receiver.ts";

const SECRET = "canary-webhook-secret-4711-0123456789";
const HOUR = 3_600_000;
const scopes = parseScopes("secrets:read:p/*");

interface Stage {
  readonly clock: TestClock;
  readonly lines: string[];
  /** Opens the vault once more, as the next process does. */
  vault(): Promise<Vault>;
  tell(vault: Vault, url: URL): ApprovalTeller;
  ask(vault: Vault, terms: string): Promise<string>;
  /** When each of those is due that are still to be told. */
  due(): Promise<readonly number[]>;
}

const stage = async (): Promise<Stage> => {
  const clock = createTestClock();
  const state = await temporaryDirectory();
  const lines: string[] = [];
  const say =
    (level: string): Log["info"] =>
    (message, fields) =>
      void lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
  const approvals = { ...DEFAULT_APPROVALS, tells: true };
  return {
    clock,
    lines,
    vault: async () => (await openTestVault({ state, clock }, { approvals })).vault,
    tell(vault, url) {
      const teller = createApprovalTeller({
        webhook: { url: url.href, secret: { env: "HOOK" } },
        news: vault.approvalNews,
        baseDir: state,
        environment: { HOOK: SECRET },
        clock,
        log: { error: say("error"), warn: say("warn"), info: say("info"), debug: say("debug") },
        random: () => 0.5,
        every: () => () => {},
      });
      afterTest(() => teller.close());
      return teller;
    },
    async ask(vault, terms) {
      const known = (await vault.agents.list()).find(({ name }) => name === "bot");
      const agent = known ?? (await vault.agents.create({ name: "bot", scopes })).info;
      return (await vault.approvals.request({ agent, scopes, tier: "critical", reason: "why", terms })).id;
    },
    async due() {
      const storage = await openLmdb(join(state, "vault"));
      const rows = await storage.read((tx) => tx.range("approvalnews:"));
      await storage.close();
      return rows.map(({ key }) => Number.parseInt(key.split(":")[1] ?? "", 36));
    },
  };
};

const idsOf = (received: readonly Received[]): unknown[] => received.map(({ headers }) => headers["webhook-id"]);

describe("what is told of approvals", () => {
  it("is said again with the same id, later each time, until it is taken", async () => {
    const { clock, lines, vault: open, tell, ask, due } = await stage();
    const vault = await open();
    const { url, received } = await receiver(status(500), (response) => void response.destroy(), status(200));
    const teller = tell(vault, url);
    const id = await ask(vault, "a");
    for (const ms of RETRY_AFTER_MS.slice(0, 2)) {
      teller.wake();
      const next = clock.now() + ms;
      await expect.poll(due).toEqual([next]);
      // Not before its time.
      clock.advance(ms - 1);
      expect(await vault.approvalNews.take(1, 0)).toEqual([]);
      clock.advance(1);
    }
    teller.wake();
    await expect.poll(due).toEqual([]);
    expect(idsOf(received)).toEqual(Array(3).fill(`${id}.requested`));
    expect(new Set(received.map(({ body }) => body)).size).toBe(1);
    expect(lines).toHaveLength(2);
  });

  it("is given up after the last attempt, and says so without a word of the secret", async () => {
    const { clock, lines, vault: open, tell, ask, due } = await stage();
    const vault = await open();
    const { url, received } = await receiver(status(503));
    const teller = tell(vault, url);
    await ask(vault, "a");
    for (const ms of RETRY_AFTER_MS) {
      teller.wake();
      await expect.poll(due).toEqual([clock.now() + ms]);
      clock.advance(ms);
    }
    teller.wake();
    await expect.poll(due).toEqual([]);
    expect(received).toHaveLength(RETRY_AFTER_MS.length + 1);
    expect(lines.at(-1)).toContain("given up");
    expect(lines.at(-1)).toContain("status 503");
    expect(lines.join("\n")).not.toContain("canary");
  });

  it("is said no more to a receiver that is gone for good", async () => {
    const { lines, vault: open, tell, ask, due } = await stage();
    const vault = await open();
    const { url, received } = await receiver(status(410));
    await ask(vault, "a");
    tell(vault, url).wake();
    await expect.poll(due).toEqual([]);
    expect(received).toHaveLength(1);
    expect(lines).toHaveLength(1);
  });

  it("is lost by no restart: requests, and all that came of them", async () => {
    const { clock, vault: open, tell, ask, due } = await stage();
    const before = await open();
    const silent = await receiver(() => {});
    const teller = tell(before, silent.url);
    const waits = await ask(before, "waits");
    teller.wake();
    await expect.poll(() => silent.received.length).toBe(1);
    const yes = await ask(before, "yes");
    const no = await ask(before, "no");
    await before.approvals.approve(yes, { by: "op" });
    await before.approvals.deny(no, { by: "op", reason: "no" });
    clock.advance(25 * HOUR);
    await before.approvals.expire();
    // In the middle of an attempt.
    await teller.close();
    await before.close();
    const after = await open();
    const { url, received } = await receiver(status(204));
    tell(after, url).wake();
    await expect
      .poll(() => idsOf(received).sort())
      .toEqual(
        [
          `${waits}.requested`,
          `${waits}.timed_out`,
          `${yes}.requested`,
          `${yes}.granted`,
          `${no}.requested`,
          `${no}.denied`,
        ].sort(),
      );
    const statuses = Object.fromEntries(
      received.map(({ headers, body }) => [headers["webhook-id"], JSON.parse(body).data.status]),
    );
    // As it was when it happened.
    expect(statuses).toMatchObject({
      [`${yes}.requested`]: "pending",
      [`${yes}.granted`]: "approved",
      [`${no}.denied`]: "denied",
      [`${waits}.timed_out`]: "expired",
    });
    await expect.poll(due).toEqual([]);
    expect(received).toHaveLength(6);
  });

  it("is taken over from a server that died on the way, and told once by those that live", async () => {
    const { clock, vault: open, tell, ask, due } = await stage();
    const [one, other] = [await open(), await open()];
    await ask(one, "a");
    // As one that is killed in the middle of its attempt leaves it.
    expect(await one.approvalNews.take(1, HOLD_MS)).toHaveLength(1);
    const answers: ServerResponse[] = [];
    const { url, received } = await receiver((response) => void answers.push(response));
    const tellers = [tell(one, url), tell(other, url)];
    clock.advance(HOLD_MS - 1);
    expect(await other.approvalNews.take(1, 0)).toEqual([]);
    clock.advance(1);
    for (const teller of tellers) teller.wake();
    await expect.poll(() => received.length).toBe(1);
    for (const teller of tellers) teller.wake();
    answers[0]?.writeHead(204).end();
    await expect.poll(due).toEqual([]);
    expect(received).toHaveLength(1);
  });

  it("keeps nothing where nobody is told", async () => {
    const { vault } = await openTestVault();
    const { info: agent } = await vault.agents.create({ name: "bot", scopes });
    const { id } = await vault.approvals.request({ agent, scopes, tier: "critical", terms: "t" });
    await vault.approvals.deny(id, { by: "op", reason: "no" });
    expect(await vault.approvalNews.take(10, 0)).toEqual([]);
  });
});
