/** Commands of interface.md that this version does not have: typing one gets a plain answer, not "unknown command". */

export const LATER_COMMANDS: readonly string[] = [];
