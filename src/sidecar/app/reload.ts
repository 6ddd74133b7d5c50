/**
 * The file read again: checked whole, by the rules of `check` and of the start, and only then applied. A file that is
 * wrong changes nothing and is told once. One reload at a time; every one is on record.
 */
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import type { AuditBroker } from "../../audit/broker.ts";
import { createProblem, formatProblem, type Problem } from "../../config/problem.ts";
import { SidekeyError, toSidekeyError } from "../../core/errors.ts";
import { framesOf } from "../../core/frames.ts";
import type { Log } from "../../core/log.ts";
import { readConfig } from "./config/config.ts";
import { readAtReload, refuseExposedFile, refuseExposedFiles } from "./config/file-check.ts";
import type { SidecarConfig } from "./config/model.ts";

export type ReloadTrigger = "signal" | "file" | "admin";

export type ReloadResult =
  | { readonly generation: number }
  | {
      /** Never empty. */
      readonly problems: readonly Problem[];
    };

export interface ReloaderOptions {
  /** What serves, also where a start limited it: its `file` is what is read. */
  readonly running: SidecarConfig;
  /** Puts a checked file in the place of the one that serves; its number. Errors: any; then nothing has changed. */
  readonly apply: (config: SidecarConfig) => Promise<number>;
  readonly broker: AuditBroker;
  readonly log: Log;
}

export interface Reloader {
  /** Reads the file and all that it names again, changed or not. */
  reload(trigger: ReloadTrigger): Promise<ReloadResult>;
  /** For a watch: nothing when the file and what it names are what serves. */
  reloadIfChanged(): Promise<void>;
  /** Whether what was last read is what serves. */
  accepted(): boolean;
  /** To be watched like the file: what is read with it. Absolute. */
  related(): readonly string[];
}

export const createReloader = ({ running, apply, broker, log }: ReloaderOptions): Reloader => {
  const { file, agent } = running;
  let serving = running;
  let readWith = digestOf(readAtReload(serving));
  /** What was wrong the last time, so that it is told once. */
  let told = "";
  let last: Promise<unknown> = Promise.resolve();
  /** Asked for, and not begun: it will do for whoever asks meanwhile. */
  let waiting: Promise<ReloadResult> | undefined;

  const attempt = async (trigger: ReloadTrigger): Promise<ReloadResult | undefined> => {
    try {
      // Before it is read: what somebody else wrote must not even name the files that are looked at next.
      refuseExposedFile(file);
      refuseNoFile(file);
      const read = readConfig(file, running);
      if (trigger === "file" && read.digest === serving.digest && digestOf(readAtReload(serving)) === readWith) {
        told = "";
        return undefined;
      }
      if ("problems" in read) return { problems: read.problems };
      refuseExposedFiles(read.config);
      // Before they are read: a change that comes between is one more reload, and none is missed.
      const digest = digestOf(readAtReload(read.config));
      const generation = await apply(read.config);
      serving = read.config;
      readWith = digest;
      for (const warning of read.warnings) log.warn(`the file: ${formatProblem(warning)}`);
      return { generation };
    } catch (thrown) {
      const error = toSidekeyError(thrown);
      if (error.code === "INTERNAL")
        log.error("reload failed", { code: error.code, stack: framesOf(error.cause).join(" < ") });
      return { problems: [problemOf(file, error)] };
    }
  };

  const settle = async (trigger: ReloadTrigger): Promise<ReloadResult | undefined> => {
    const result = await attempt(trigger);
    if (result === undefined) return undefined;
    if ("generation" in result) {
      told = "";
      const { generation } = result;
      log.info("the file was read again", { generation, trigger });
      await record(`reload by ${trigger}: generation ${generation}`);
    } else {
      const text = result.problems.map(formatProblem).join("\n");
      // Whoever asks is answered; the log says it once.
      if (text !== told) {
        log.error(`the file was not accepted, and the one before stays:\n${text}`, { trigger });
        await record(`reload by ${trigger} refused: ${result.problems.length} problems`, "CONFIG_INVALID");
      }
      told = text;
    }
    return result;
  };

  const record = (reason: string, code?: "CONFIG_INVALID"): Promise<void> =>
    broker.record({ type: "admin", agent, reason, code }).then(
      () => undefined,
      () => log.error("reload not recorded", { reason }),
    );

  const inTurn = <T>(act: () => Promise<T>): Promise<T> => {
    const next = last.then(act);
    last = next.catch(() => undefined);
    return next;
  };

  return {
    reload(trigger) {
      waiting ??= inTurn(async () => {
        waiting = undefined;
        const result = await settle(trigger);
        if (result === undefined) throw new TypeError("a reload without a result");
        return result;
      });
      return waiting;
    },
    async reloadIfChanged() {
      await inTurn(() => settle("file"));
    },
    accepted: () => told === "",
    related: () => readAtReload(serving),
  };
};

/**
 * A pipe (`-c <(…)`) has been read to its end, and opening it again could wait for ever. One that is gone is told by
 * reading it. Errors: CONFIG_INVALID.
 */
const refuseNoFile = (file: string): void => {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined || found.isFile()) return;
  throw new SidekeyError("CONFIG_INVALID", {
    detail: "it is no regular file, so it cannot be read again",
    hint: "Start the sidecar with a file, or restart it to change this one.",
  });
};

/** Of their contents; one that can't be read counts as another one. */
const digestOf = (paths: readonly string[]): string => {
  const hash = createHash("sha256");
  for (const path of paths) {
    hash.update(`\0${path}\0`);
    try {
      // A pipe can be read but once, and not by us.
      if (statSync(path).isFile()) hash.update(readFileSync(path));
    } catch {
      hash.update("absent");
    }
  }
  return hash.digest("hex");
};

const problemOf = (file: string, error: SidekeyError): Problem =>
  createProblem(file, { line: 1, column: 1 }, { path: [], message: wordsOf(error), hint: error.hint });

/** Details of the file's own faults are whole sentences; those of a vault or a token say which one, and not what is wrong. */
const wordsOf = ({ code, detail, publicMessage }: SidekeyError): string => {
  if (detail === undefined) return publicMessage;
  return (code.startsWith("CONFIG_") ? detail : `${publicMessage} ${detail}`).trim();
};
