/**
 * Ids that sort by the time they were made (UUID version 7, RFC 9562 section 5.7), so that rows keyed by them lie in that
 * order. They name things and open nothing.
 */
import { randomBytes } from "node:crypto";
import type { Clock } from "../core/clock.ts";

const MAX_COUNT = 0xfff;

/** Within a millisecond of one process the order is kept by counting (section 6.2, method 1), for the first 4,096. */
export const createOrderedIds = (clock: Clock): (() => string) => {
  let last = 0;
  let count = 0;
  return () => {
    const now = clock.now();
    count = now === last ? Math.min(count + 1, MAX_COUNT) : 0;
    last = now;
    const bytes = randomBytes(16);
    bytes.writeUIntBE(now, 0, 6);
    bytes.writeUInt16BE(0x7000 | count, 6);
    bytes.writeUInt8(0x80 | ((bytes[8] ?? 0) & 0x3f), 8);
    const hex = bytes.toString("hex");
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  };
};
