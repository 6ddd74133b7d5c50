import { describe, expect, it } from "vitest";
import { createSessions } from "../../../../../src/vault/storage/postgres/session.ts";
import { codeOf } from "../../support.ts";

type Mode = "session" | "newest" | "in turn";

/** What a client sees of a pooler: which session of the server each of its statements came to. */
const createPooler = (mode: Mode) => {
  const free: number[] = [];
  let made = 0;
  const take = (): number => {
    const found = mode === "in turn" ? free.shift() : free.pop();
    if (found !== undefined) return found;
    made += 1;
    return made;
  };
  return {
    connect() {
      let held: number | undefined;
      return {
        // The driver's type has many forms; this is the one that is used.
        query: (async (text: string) => {
          held ??= take();
          const rows = [{ standby: false, session: held }];
          const isOver = mode !== "session" && !text.startsWith("BEGIN");
          if (isOver) {
            free.push(held);
            held = undefined;
          }
          return [{ rows: [] }, { rows }];
        }) as never,
      };
    },
  };
};

const pairOf = async (mode: Mode, others: number) => {
  const pooler = createPooler(mode);
  const sessions = createSessions();
  // Sessions that somebody else has left there.
  const busy = Array.from({ length: others }, () => pooler.connect());
  for (const one of busy) await (one.query as (text: string) => Promise<unknown>)("BEGIN");
  for (const one of busy) await (one.query as (text: string) => Promise<unknown>)("ROLLBACK");
  const [one, other] = [pooler.connect(), pooler.connect()];
  for (const client of [one, other]) await sessions.prepare(client);
  return { sessions, one, other };
};

describe("sessions of a database", () => {
  it.each([0, 1, 2, 7])("are told from those that a pooler gives to each transaction, with %i free", async (others) => {
    for (const mode of ["newest", "in turn"] as const) {
      const { sessions, one, other } = await pairOf(mode, others);
      expect([mode, await sessions.areApart(one, other)]).toEqual([mode, false]);
    }
    const { sessions, one, other } = await pairOf("session", others);
    expect(await sessions.areApart(one, other)).toBe(true);
  });

  it("are looked at again when a transaction begins", async () => {
    const { sessions, one, other } = await pairOf("newest", 0);
    await sessions.begin(one, "BEGIN");
    expect(await codeOf(() => sessions.begin(other, "BEGIN"))).toBe("VAULT_STORE_BUSY");
    const own = await pairOf("session", 0);
    await own.sessions.begin(own.one, "BEGIN");
    await own.sessions.begin(own.other, "BEGIN");
  });

  it("are none of a standby", async () => {
    const standby = { query: (async () => [{ rows: [{ standby: true, session: 1 }] }]) as never };
    expect(await codeOf(() => createSessions().prepare(standby))).toBe("VAULT_STORE_BUSY");
  });
});
