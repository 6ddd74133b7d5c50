/** The `audit` section, which the sidecar's file and the vault's have in common. */
import * as z from "zod";
import { filePath, MAX_TIMER_MS, parseDuration, refuse, size } from "./units.ts";

const SYNC_FORM = "must be always, never, or a duration like 1s";

/** `ms` between syncs, or a word. */
const syncPolicy = z
  .string({ error: SYNC_FORM })
  .meta({ examples: ["always", "never", "1s"] })
  .transform((text, context): "always" | "never" | number => {
    if (text === "always" || text === "never") return text;
    const interval = parseDuration(text);
    if (interval === undefined || interval > MAX_TIMER_MS) return refuse(context, SYNC_FORM);
    return interval === 0
      ? refuse(context, "must be more than zero", "Write 'always' for a sync at each write.")
      : interval;
  });

/** `defaultPath`: where the log is when the file says nothing, for the description. */
export const auditSchema = (defaultPath: string) =>
  z
    .strictObject({
      path: filePath.optional().describe(`File. Default: ${defaultPath}.`),
      sync: syncPolicy.prefault("1s").describe("When records are synced to the disk; about power loss only."),
      max_size: size({ min: 64 * 1024 })
        .prefault("100MiB")
        .describe("Size of a file before it is rotated."),
      keep: z.int().min(1).max(10_000).default(10).describe("Rotated files that are kept."),
      key: filePath.optional().describe("File with the key of its chain. Default: <state>/audit.key."),
    })
    .prefault({})
    .describe("The log of every request.");

export interface AuditConfig {
  readonly path: string;
  /** `ms` between syncs, or a word. */
  readonly sync: "always" | "never" | number;
  /** `bytes` */
  readonly maxSize: number;
  /** Files kept beside the current one. */
  readonly keep: number;
  /** File. */
  readonly key: string;
}
