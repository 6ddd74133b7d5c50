import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe } from "vitest";
import { silentLog } from "../../src/core/log.ts";
import { openSharedVault, openVault } from "../../src/vault/index.ts";
import { noPostgres, type PostgresServer, startPostgres } from "../support/postgres.ts";
import { afterTest } from "../unit/vault/support.ts";
import { describeVault } from "./vault.ts";

const stateDirectory = async (): Promise<string> => {
  const state = await mkdtemp(join(tmpdir(), "sidekey-vault-"));
  afterTest(() => rm(state, { recursive: true, force: true }));
  return state;
};

describeVault("lmdb", async (clock) => {
  const state = await stateDirectory();
  const keys = { file: join(state, "vault.key") };
  return {
    keys,
    clock,
    async open() {
      const vault = await openVault({ directory: join(state, "vault"), keys, clock });
      afterTest(() => vault.close());
      return vault;
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

  describeVault("postgres", async (clock) => {
    const keys = { file: join(await stateDirectory(), "vault.key") };
    const url = (await server?.createDatabase()) ?? "";
    return {
      keys,
      clock,
      async open() {
        const vault = await openSharedVault({ url, keys, clock, log: silentLog });
        afterTest(() => vault.close());
        return vault;
      },
    };
  });
});
