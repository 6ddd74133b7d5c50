/** What the tests of the kinds build a source with. */
import { silentLog } from "../../../../../src/core/log.ts";
import type { SecretRef, SourceDeps } from "../../../../../src/sidecar/secrets/source.ts";
import { createTestClock } from "../../../vault/support.ts";

export const CONTEXT = { agent: "research" };

export const depsIn = (directory: string, more: Partial<SourceDeps> = {}): SourceDeps => ({
  name: "s",
  agent: "research",
  baseDir: directory,
  stateDir: directory,
  clock: createTestClock(),
  environment: {},
  log: silentLog,
  paths: [],
  ...more,
});

export const refTo = (path: string, more: Partial<SecretRef> = {}): SecretRef => ({
  source: "s",
  path,
  field: [],
  version: undefined,
  text: `s:${path}`,
  ...more,
});
