import { mkdir, mkdtemp, rename, rm, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { isSidekeyError } from "../../src/core/errors.ts";
import { silentLog } from "../../src/core/log.ts";
import { SecretValue } from "../../src/core/secret-value.ts";
import { sourceKinds } from "../../src/sidecar/secrets/kinds/index.ts";
import type { SourceDeps } from "../../src/sidecar/secrets/source.ts";
import { openVault } from "../../src/vault/index.ts";
import { startVaultStage } from "../support/vault/vault-stage.ts";
import { describeSource } from "./source.ts";

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (let next = cleanups.pop(); next !== undefined; next = cleanups.pop()) await next();
});

const temporaryDirectory = async (): Promise<string> => {
  const directory = await mkdtemp(join(tmpdir(), "sidekey-source-"));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
};

const depsIn = (directory: string, more: Partial<SourceDeps> = {}): SourceDeps => ({
  name: "subject",
  agent: "research",
  baseDir: directory,
  stateDir: directory,
  clock: systemClock,
  environment: {},
  log: silentLog,
  paths: [],
  ...more,
});

const [local, file, env, exec, sidekey] = sourceKinds;

describeSource("sidekey", { bytes: false, version: "1" }, async () => {
  const stage = await startVaultStage(cleanups);
  const directory = await temporaryDirectory();
  await writeFile(join(directory, "agent-key"), stage.agentKey, { mode: 0o600 });
  const path = (n: number): string => `production/x/key-${n}`;
  const paths = [path(0), path(1), path(2)];
  const uses = paths.map((one) => ({ path: one, route: "api", authority: undefined }));
  const source = await sidekey.create(
    { kind: "sidekey", address: stage.balancer.url, agent_key: { file: "agent-key" } },
    depsIn(directory, { paths, uses }),
  );
  cleanups.push(async () => source.close());
  await expect.poll(() => source.isHeard()).toBe(true);
  /** What the vault says of it is heard a moment later. */
  const heard = async (change: () => Promise<boolean>): Promise<boolean> => {
    const before = source.generation();
    const isChanged = await change();
    if (isChanged) await expect.poll(() => source.generation()).not.toBe(before);
    return isChanged;
  };
  return {
    source,
    path,
    store: (at, bytes) =>
      heard(async () => {
        const body = { value: bytes.toString("utf8") };
        return (await stage.vault.call("PUT", `/v1/secrets/${at}`, { body })).status < 300;
      }),
    async remove(at) {
      await heard(async () => (await stage.vault.call("DELETE", `/v1/secrets/${at}`)).status === 204);
    },
    async breakDown() {
      stage.balancer.down();
      return async () => stage.balancer.up();
    },
  };
});

describeSource("local", { bytes: true, version: "1" }, async () => {
  const directory = await temporaryDirectory();
  const path = (n: number): string => `production/x/key-${n}`;
  const source = await local.create({ kind: "local" }, depsIn(directory, { paths: [path(0), path(1), path(2)] }));
  cleanups.push(async () => source.close());
  // Filled as the command line does it: through the store, past the source.
  const vault = await openVault({
    directory: join(directory, "vault"),
    keys: { file: join(directory, "vault.key") },
    clock: systemClock,
  });
  cleanups.push(() => vault.close());
  return {
    source,
    path,
    async store(at, bytes) {
      try {
        await vault.secrets.set(at, new SecretValue(bytes));
        return true;
      } catch (error) {
        if (isSidekeyError(error) && error.code === "VAULT_BAD_VALUE") return false;
        throw error;
      }
    },
    remove: (at) => vault.secrets.remove(at),
  };
});

describeSource("file", { bytes: true }, async () => {
  const directory = await temporaryDirectory();
  const root = join(directory, "root");
  await mkdir(join(root, "deep"), { recursive: true });
  return {
    source: await file.create({ kind: "file", root: "root" }, depsIn(directory)),
    path: (n) => `deep/key-${n}`,
    async store(at, bytes) {
      await writeFile(join(root, at), bytes);
      return true;
    },
    remove: (at) => unlink(join(root, at)),
    async breakDown() {
      await rename(root, `${root}-gone`);
      return () => rename(`${root}-gone`, root);
    },
  };
});

describeSource("exec", { bytes: true }, async () => {
  const directory = await temporaryDirectory();
  await mkdir(join(directory, "root"));
  const script = `#!/bin/sh
[ -e down ] && exit 1
[ -e silent ] && exec /bin/sleep 60
[ -e forbidden ] && exit 77
[ -f "root/$1" ] || exit 66
exec /bin/cat "root/$1"
`;
  await writeFile(join(directory, "program"), script, { mode: 0o700 });
  const flag = (name: string) => async () => {
    await writeFile(join(directory, name), "");
    return () => unlink(join(directory, name));
  };
  const fields = { kind: "exec", command: ["./program", "{path}"], timeout: 2_000, env: [] } as const;
  return {
    source: exec.create({ ...fields, command: [...fields.command], env: [] }, depsIn(directory)),
    path: (n) => `key-${n}`,
    async store(at, bytes) {
      await writeFile(join(directory, "root", at), bytes);
      return true;
    },
    remove: (at) => unlink(join(directory, "root", at)),
    breakDown: flag("down"),
    silence: flag("silent"),
    forbid: flag("forbidden"),
  };
});

describeSource("env", { bytes: false }, async () => {
  const environment: Record<string, string> = {};
  return {
    source: await env.create({ kind: "env" }, depsIn("/", { environment })),
    path: (n) => `KEY_${n}`,
    async store(at, bytes) {
      environment[at] = bytes.toString("utf8");
      return true;
    },
    async remove(at) {
      delete environment[at];
    },
  };
});
