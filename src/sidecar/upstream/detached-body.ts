/**
 * A request's body on loan to the HTTP client: when the client is done with it before its end, because the upstream
 * answered early, the agent's own stream stays whole. Destroying that one would cut the connection on which the agent
 * waits for the answer.
 */
import { Readable } from "node:stream";

export const detachedBody = (source: Readable): Readable => {
  const onData = (chunk: Buffer): void => {
    if (!body.push(chunk)) source.pause();
  };
  const onEnd = (): void => void body.push(null);
  // A stream closes after its end too, when what it held may still wait here for the client to take it.
  const onBreak = (): void => {
    if (!source.readableEnded) body.destroy(new Error("the agent's body broke off"));
  };
  const body = new Readable({
    read: () => void source.resume(),
    destroy(error, done) {
      source.off("data", onData).off("end", onEnd).off("error", onBreak).off("close", onBreak);
      source.on("error", () => undefined);
      if (!source.readableEnded) source.pause();
      done(error);
    },
  });
  // The client may have let go of it by then, and nobody else listens.
  body.on("error", () => undefined);
  source.on("data", onData).on("end", onEnd).on("error", onBreak).on("close", onBreak);
  source.pause();
  return body;
};
