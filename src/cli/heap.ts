/** How V8 keeps the heap of a process that serves requests. For the program alone: in a library the heap is its user's. */
import { setFlagsFromString } from "node:v8";

/**
 * Has V8 make every object young. From a busy start, when all that is in flight survives, it would conclude that the
 * objects of a request live long, and make them in the old space from then on: each keeps what it refers to until the
 * next full collection, and every small collection copies all of that twice. Takes 6 to 12 % of a request's CPU time.
 */
const ALL_YOUNG = "--no-allocation-site-pretenuring";

/**
 * How far the old space may grow beyond what lived at the last full collection before the next one begins. V8 counts the
 * memory of all buffers to the old space, also of those that die young: up to 64 MB while a body streams, made and
 * dropped 200 times a second. For a heap as small as ours its own limit is below that, so that it collected everything
 * on and on. `percent`
 */
const GROWTH = "--heap-growing-percent=200";

/** Here and not on the command line: with other flags there, V8 refuses the code that was compiled ahead (ADR 0007). */
export const tuneHeap = (): void => {
  setFlagsFromString(ALL_YOUNG);
  setFlagsFromString(GROWTH);
};
