import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import { openLmdb } from "../../src/vault/storage/lmdb.ts";
import { openPostgres } from "../../src/vault/storage/postgres.ts";
import { noPostgres, type PostgresServer, startPostgres } from "../support/postgres.ts";
import { describeStorage } from "./storage.ts";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (let next = cleanups.pop(); next !== undefined; next = cleanups.pop()) await next();
});

describeStorage("lmdb", async () => {
  const directory = await mkdtemp(join(tmpdir(), "sidekey-storage-"));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  return {
    async open() {
      const storage = await openLmdb(join(directory, "vault"));
      cleanups.push(() => storage.close());
      return storage;
    },
  };
});

const absent = noPostgres();
describe.skipIf(absent !== undefined)(`postgres${absent === undefined ? "" : ` (${absent})`}`, () => {
  let server: PostgresServer | undefined;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(() => server?.close());

  describeStorage("postgres", async () => {
    const url = (await server?.createDatabase()) ?? "";
    return {
      async open() {
        const storage = await openPostgres(url, { clock: systemClock, log: silentLog });
        cleanups.push(() => storage.close());
        return storage;
      },
    };
  });
});
