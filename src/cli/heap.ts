/** How V8 keeps the heap of a process that serves requests. For the program alone: in a library the heap is its user's. */
import { setFlagsFromString } from "node:v8";

/**
 * Has V8 make every object young. From a busy start, when all that is in flight survives, it would conclude that the
 * objects of a request live long, and make them in the old space from then on: each keeps what it refers to until the
 * next full collection, and every small collection copies all of that twice. Takes 6 to 12 % of a request's CPU time.
 *
 * Here and not on the command line: with other flags there, V8 refuses the code that was compiled ahead (ADR 0007).
 */
export const keepRequestsYoung = (): void => setFlagsFromString("--no-allocation-site-pretenuring");
