/** A process that writes an audit log as fast as it can and prints each number once it was acknowledged. */
import { writeSync } from "node:fs";
import { join } from "node:path";
import { errnoOf } from "../../src/audit/file-access.ts";
import { openAudit } from "../../src/audit/index.ts";
import { systemClock } from "../../src/core/clock.ts";
import { isSidekeyError } from "../../src/core/errors.ts";
import { silentLog } from "../../src/core/log.ts";

const [, , state = ".", turns = "Infinity", maxSize = "20000"] = process.argv;

/** Waits while the pipe is full: a line that was printed must have been taken. */
const say = (line: string): void => {
  for (;;) {
    try {
      writeSync(1, `${line}\n`);
      return;
    } catch (error) {
      if (errnoOf(error) !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
};

const write = async (): Promise<void> => {
  const broker = await openAudit({
    path: join(state, "audit.jsonl"),
    keyPath: join(state, "audit.key"),
    sync: 20,
    maxSize: Number(maxSize),
    keep: 1000,
    clock: systemClock,
    log: silentLog,
    agent: "writer",
    lock: true,
  });
  say("open");
  for (let turn = 0; turn < Number(turns); turn++) {
    const batch = Array.from({ length: 1 + (turn % 7) }, (_, i) =>
      broker.record({ type: "intent", requestId: `${process.pid}-${turn}-${i}`, path: "/x".repeat(turn % 50) }),
    );
    for (const settled of await Promise.allSettled(batch)) {
      if (settled.status === "fulfilled") say(`stored ${settled.value.seq}`);
      else say(isSidekeyError(settled.reason) ? `refused ${settled.reason.message}` : "failed");
    }
  }
  await broker.close();
  say("closed");
};

write().catch((error: unknown) => {
  say(`failed ${String(error)}`);
  process.exitCode = 1;
});
