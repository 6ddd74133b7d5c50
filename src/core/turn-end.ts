/**
 * The end of this turn of the event loop. What arrives on many sockets is worked on then, one after the other, and what
 * leaves to many leaves then, in one go: the same code runs while the processor still has it, several askers share one
 * look at the vault, and whoever waits behind the sockets is woken once.
 */

export interface TurnEnd {
  /** Must not throw. */
  turnEnds(): void;
}

let waiting: TurnEnd[] = [];
let at = 0;

/** Has `turnEnds` called once, in the order of the calls: when all that is ready has been read, within the same turn. */
export const atTurnEnd = (one: TurnEnd): void => {
  if (waiting.length === 0) setImmediate(endTurn);
  waiting.push(one);
};

/** What comes to it meanwhile is done as well. */
const endTurn = (): void => {
  try {
    for (; at < waiting.length; at++) waiting[at]?.turnEnds();
  } finally {
    if (at < waiting.length) {
      // One has thrown, and that is on its way to where all faults end: the others are not to wait for ever.
      at += 1;
      setImmediate(endTurn);
    } else {
      waiting = [];
      at = 0;
    }
  }
};
