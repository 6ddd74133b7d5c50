/** What programs may import from `sidekey`. Everything else is internal and may change without notice. */
export * from "./client/index.ts";
export { ERROR_TABLE, type ErrorCode, isSidekeyError } from "./core/errors.ts";
export { type Log, type LogLevel, silentLog } from "./core/log.ts";
export { createLog } from "./core/process-log.ts";
export {
  type LoadOptions,
  type LoadResult,
  loadConfig,
  readConfig,
  type SidecarConfig,
} from "./sidecar/app/config/config.ts";
export { type Ready, type Sidecar, type StartOptions, startSidecar } from "./sidecar/app/lifecycle.ts";
