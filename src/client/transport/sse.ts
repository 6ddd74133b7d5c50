/**
 * Server-sent events (WHATWG HTML, section 9.2.6) from bytes as they come. Bounded: a line or an event that never ends is
 * an error, not memory.
 */

import { TextDecoder } from "node:util";

export interface ServerEvent {
  readonly type: string;
  readonly data: string;
  /** Undefined = the event has none of its own. */
  readonly id: string | undefined;
}

/** What one piece of the stream brought; a comment shows only that the other end lives. */
export type Piece = ServerEvent | "comment";

export interface EventParser {
  /** Errors: RangeError when a line or an event is longer than may be, or is not UTF-8. */
  push(chunk: Uint8Array): readonly Piece[];
}

/** Of one event with all its lines. In characters. */
export const MAX_EVENT = 64 * 1024;

export const createEventParser = (): EventParser => {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let rest = "";
  let type = "";
  let data: string[] = [];
  let id: string | undefined;
  let size = 0;

  const field = (line: string): void => {
    const colon = line.indexOf(":");
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") type = value;
    else if (name === "data") data.push(value);
    // A NUL in it: not an id.
    else if (name === "id" && !value.includes("\0")) id = value;
  };

  const finish = (): ServerEvent | undefined => {
    const event = data.length === 0 ? undefined : { type: type === "" ? "message" : type, data: data.join("\n"), id };
    type = "";
    data = [];
    id = undefined;
    size = 0;
    return event;
  };

  return {
    push(chunk) {
      const pieces: Piece[] = [];
      rest += decode(decoder, chunk);
      // A carriage return at the very end may be half of a line's end.
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? "";
      for (const line of lines) {
        size += line.length + 1;
        if (line === "") {
          const event = finish();
          if (event !== undefined) pieces.push(event);
        } else if (line.startsWith(":")) pieces.push("comment");
        else field(line);
        if (size > MAX_EVENT) throw new RangeError("an event is too long");
        if (line.startsWith(":")) size -= line.length + 1;
      }
      if (rest.length > MAX_EVENT) throw new RangeError("a line is too long");
      return pieces;
    },
  };
};

const decode = (decoder: TextDecoder, chunk: Uint8Array): string => {
  try {
    return decoder.decode(chunk, { stream: true });
  } catch {
    throw new RangeError("not UTF-8");
  }
};
