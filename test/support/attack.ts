/** How attacks are carried out: bytes in pieces of the test's choosing, and everything that comes back. */
import type { RawConnection, RawResponse } from "./raw-client.ts";

/** A connection that neither answers nor ends in this time hangs. `ms` */
const HANG_MS = 8_000;

/** Sends each piece in a segment of its own. */
export const sendPieces = async (connection: RawConnection, pieces: readonly (string | Buffer)[]): Promise<void> => {
  for (const piece of pieces) {
    if (connection.socket.destroyed) return;
    connection.send(typeof piece === "string" ? Buffer.from(piece, "latin1") : piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
};

/** Every answer until the connection ends; anything else that came is an error. */
export const answersUntilClosed = async (connection: RawConnection, method = "GET"): Promise<RawResponse[]> => {
  const answers: RawResponse[] = [];
  for (;;) {
    try {
      answers.push(await hasty(connection, connection.receive(method)));
    } catch (error) {
      if (connection.buffered.length > 0 || String(error).includes("hangs")) throw error;
      await hasty(connection, connection.closed());
      return answers;
    }
  }
};

/** The next answer, or undefined when the connection ends without one. */
export const nextAnswer = async (connection: RawConnection, method = "GET"): Promise<RawResponse | undefined> => {
  try {
    return await hasty(connection, connection.receive(method));
  } catch (error) {
    if (connection.buffered.length > 0 || String(error).includes("hangs")) throw error;
    return undefined;
  }
};

const hasty = async <T>(connection: RawConnection, result: Promise<T>): Promise<T> => {
  let timer: NodeJS.Timeout | undefined;
  const hang = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`it hangs; so far: ${JSON.stringify(connection.transcript.toString("latin1").slice(0, 300))}`));
      connection.destroy();
    }, HANG_MS);
  });
  try {
    return await Promise.race([result, hang]);
  } finally {
    clearTimeout(timer);
  }
};

/** What became of an attack. */
export type Fate =
  /** Refused once, with this code; the connection ended, or still understood the request behind it. */
  | `refused ${string}`
  /** The connection was cut without an answer. */
  | "cut"
  /** Answered by the upstream, and the connection still understood the request behind it. */
  | "forwarded";

/**
 * Sends an attack and looks what became of it. Unless the answer is the last, a request of a known path follows, and its
 * answer must be the next thing on the connection. Throws for anything that is neither a refusal nor a clean exchange.
 */
export const attack = async (
  connection: RawConnection,
  pieces: readonly (string | Buffer)[],
  options: { readonly method?: string; readonly followUp?: string } = {},
): Promise<Fate> => {
  const { method = "GET", followUp = "GET /after HTTP/1.1\r\nHost: api.test\r\n\r\n" } = options;
  await sendPieces(connection, pieces);
  const answer = await nextAnswer(connection, method);
  if (answer === undefined) return "cut";
  const code = answer.headers.get("x-sidekey-error")?.[0];
  if (code === undefined && answer.status !== 200) throw new Error(`answered ${answer.status}`);
  if (method === "CONNECT" && code === undefined) return "forwarded";
  if (answer.headers.get("connection")?.[0] === "close") {
    const more = await answersUntilClosed(connection);
    if (more.length > 0) throw new Error(`the last answer was ${code ?? 200}, and then came ${more.length} more`);
  } else {
    await sendPieces(connection, [followUp]);
    const after = await nextAnswer(connection);
    // An absolute target leaves as a path.
    const line = followUp.slice(0, followUp.indexOf("\r\n")).replace(/ https?:\/\/[^/]+/, " ");
    if (after === undefined || !after.body.toString("latin1").startsWith(line)) {
      throw new Error(`the next request got ${after?.status} ${after?.body.toString("latin1").slice(0, 80)}`);
    }
  }
  return code === undefined ? "forwarded" : `refused ${code}`;
};

/** Runs `act` on each, some at a time; "name: what went wrong" for those where it threw or gave an unexpected fate. */
export const failuresOf = async <T>(
  cases: readonly T[],
  act: (one: T, index: number) => Promise<string | undefined>,
  atOnce = 8,
): Promise<string[]> => {
  const failures: string[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < cases.length; index = next++) {
      const one = cases[index] as T;
      const text = await act(one, index).catch((error: unknown) => String(error));
      if (text !== undefined) failures.push(`${JSON.stringify(one)}: ${text}`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return failures.sort();
};

/** A text cut in two at every place, or every `step`th. */
export const everySplit = (text: string, step = 1): (readonly [string, string])[] => {
  const splits: (readonly [string, string])[] = [];
  for (let at = 1; at < text.length; at += step) splits.push([text.slice(0, at), text.slice(at)]);
  return splits;
};
