/** Where an error came from, without what it says: the message of an error we did not foresee may quote a secret. */

/** As V8 writes them, with the place that all of ours and Node's have. */
const FRAME = /^ {4}at (?:[^()]+ \()?(?:async )?(?:file:\/\/|node:|\/)[^()]*:\d+:\d+\)?$/;

/** `at name (file:line:column)`, innermost first; none for what is no error. */
export const framesOf = (error: unknown): readonly string[] => {
  if (!(error instanceof Error) || error.stack === undefined) return [];
  const { stack, message } = error;
  // A message of several lines could spell frames of its own.
  const said = message === "" ? -1 : stack.indexOf(message);
  const rest = said === -1 ? stack : stack.slice(said + message.length);
  return rest
    .split("\n")
    .filter((line) => FRAME.test(line))
    .map((line) => line.trim());
};
