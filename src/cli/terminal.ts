/**
 * Everything the command line says and hears: data on standard output, everything else on standard error, colour only
 * on terminals. It never prints a secret that its caller did not ask it to, and never takes one from an argument.
 */
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { isSidekeyError, SidekeyError } from "../core/errors.ts";
import { framesOf } from "../core/frames.ts";
import { cutTrailingNewline } from "../core/secret-bytes.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Terminal {
  /** One line (or a text of lines) of data, to standard output. */
  print(text: string): void;
  /** Bytes as they are, to standard output. */
  printBytes(bytes: Buffer): void;
  /** One JSON document on one line, to standard output. */
  printJson(value: unknown): void;
  /** One line for the person, to standard error. */
  note(text: string): void;
  /** The same, on a terminal only: for what a script has other ways to find out. */
  advise(text: string): void;
  /** Lines as they are, to standard error. */
  printError(text: string): void;
  /** `sidekey: CODE: sentence detail` and its hint, to standard error. */
  fail(error: SidekeyError): void;
  /** One line that the next one takes the place of, on a terminal only; undefined takes it away. To standard error. */
  progress(text: string | undefined): void;
  /** For what is printed to standard output. */
  readonly paint: Paint;
  /**
   * Standard input to its end, or one hidden line when a person sits there. One line comes without its newline; several,
   * as of a private key in PEM, come as they are: OpenSSH takes none whose last line does not end.
   */
  readSecret(prompt: string): Promise<Buffer>;
  /** Yes or no, of the person who sits there; where nobody does, as in a script, it is yes. */
  confirm(question: string): Promise<boolean>;
}

/** What a terminal is made of; `isTTY` and `setRawMode` are there when a stream is one. */
export interface TerminalStreams {
  readonly input: Readable & { readonly isTTY?: boolean; setRawMode?(raw: boolean): unknown };
  readonly output: Writable & { readonly isTTY?: boolean };
  readonly errors: Writable & { readonly isTTY?: boolean; readonly columns?: number };
}

/** In bytes; more than any secret may have, so that a wrong file on standard input does not fill the memory. */
const INPUT_LIMIT = 1024 * 1024;

export const createTerminal = (streams: TerminalStreams, environment: Environment): Terminal => {
  const { input, output, errors } = streams;
  const paintErrors = createPaint(errors.isTTY === true, environment);
  const debug = environment["SIDEKEY_LOG_LEVEL"] === "debug";
  let isProgressShown = false;
  const progress = (text: string | undefined): void => {
    if (errors.isTTY !== true || environment["TERM"] === "dumb") return;
    if (text === undefined && !isProgressShown) return;
    isProgressShown = text !== undefined;
    errors.write(`\r\u001b[2K${text === undefined ? "" : clip(visible(text), (errors.columns ?? 80) - 1)}`);
  };
  const say = (text: string): void => {
    progress(undefined);
    errors.write(text);
  };
  const put = (data: string | Buffer): void => {
    progress(undefined);
    output.write(data);
  };
  return {
    print: (text) => put(`${text}\n`),
    printBytes: put,
    printJson: (value) => put(`${JSON.stringify(value)}\n`),
    note: (text) => say(`sidekey: ${visible(text)}\n`),
    advise(text) {
      if (errors.isTTY === true) say(`sidekey: ${visible(text)}\n`);
    },
    printError: (text) => say(`${visible(text)}\n`),
    fail(error) {
      say(
        `${paintErrors.red("sidekey:")} ${visible(error.message)}\n${paintErrors.bold("hint:")} ${visible(error.hint)}\n`,
      );
      if (debug) errors.write(`${traceOf(error)}\n`);
    },
    progress,
    paint: createPaint(output.isTTY === true, environment),
    confirm: async (question) => input.isTTY !== true || /^(?:y|yes)?$/i.test((await ask(streams, question)).trim()),
    readSecret: (prompt) => (input.isTTY === true ? readHidden(streams, prompt) : readToEnd(input)),
  };
};

export interface Paint {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
}

/**
 * Colour on a terminal, unless NO_COLOR (https://no-color.org) or TERM=dumb says otherwise; FORCE_COLOR decides before
 * all of these (https://force-color.org, and `0` for none as Node has it).
 */
export const createPaint = (terminal: boolean, environment: Environment): Paint => {
  const forced = environment["FORCE_COLOR"] ?? "";
  const unwanted = (environment["NO_COLOR"] ?? "") !== "" || environment["TERM"] === "dumb";
  const isOn = forced === "" ? terminal && !unwanted : forced !== "0" && forced !== "false";
  const wrap = (open: number, close: number) => (text: string) =>
    isOn ? `\u001b[${open}m${text}\u001b[${close}m` : text;
  return { bold: wrap(1, 22), dim: wrap(2, 22), red: wrap(31, 39), green: wrap(32, 39), yellow: wrap(33, 39) };
};

const clip = (text: string, width: number): string => (text.length <= width ? text : `${text.slice(0, width - 1)}…`);

/** Controls other than newline and tab can steer a terminal; file names and keys may hold them. */
export const visible = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: controls are what is looked for.
  text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, (found) => `\\x${found.charCodeAt(0).toString(16)}`);

/** Where it came from, and what from. The words of errors that are not ours stay out: they may quote a secret. */
export const traceOf = (error: unknown): string => {
  const own = [nameOf(error), ...framesOf(error).map((frame) => `    ${frame}`)].join("\n");
  return error instanceof Error && error.cause !== undefined ? `${own}\ncaused by: ${traceOf(error.cause)}` : own;
};

const nameOf = (error: unknown): string => {
  if (isSidekeyError(error)) return error.code;
  if (!(error instanceof Error)) return "something that is no error";
  const code = "code" in error && typeof error.code === "string" && /^[A-Z0-9_]+$/.test(error.code) ? error.code : "";
  // A class of Node's or of the language, as far as its name says so.
  return `${/^[A-Za-z]+$/.test(error.constructor.name) ? error.constructor.name : "Error"} ${code}`.trimEnd();
};

/** One line; "no" where it is left with Ctrl-C or Ctrl-D. */
const ask = async ({ input, errors }: TerminalStreams, question: string): Promise<string> => {
  const { createInterface } = await import("node:readline/promises");
  const lines = createInterface({ input, output: errors });
  const left = once(lines, "close").then(() => "no");
  try {
    return await Promise.race([lines.question(`${question} [Y/n] `), left]);
  } finally {
    lines.close();
  }
};

const readToEnd = async (input: Readable): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of input) {
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
    size += bytes.length;
    if (size > INPUT_LIMIT) throw new SidekeyError("VAULT_BAD_VALUE", { detail: "Standard input is over 1 MiB." });
    chunks.push(bytes);
  }
  const whole = Buffer.concat(chunks);
  // `echo` and editors end what they write with a newline that is not part of a key.
  const line = cutTrailingNewline(whole);
  return isSeveralLines(line) ? whole : line;
};

const LF = 0x0a;
const CR = 0x0d;

/** Empty lines at the end do not make several of one. */
const isSeveralLines = (bytes: Buffer): boolean => {
  const first = bytes.indexOf(LF);
  return first !== -1 && bytes.subarray(first).some((byte) => byte !== LF && byte !== CR);
};

const readHidden = ({ input, errors }: TerminalStreams, prompt: string): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    let typed = "";
    const finish = (settle: () => void): void => {
      input.off("data", read);
      input.off("end", end);
      input.setRawMode?.(false);
      input.pause();
      errors.write("\n");
      settle();
    };
    const end = (): void => finish(() => resolve(Buffer.from(typed)));
    const read = (chunk: Buffer | string): void => {
      // By code point: a paste arrives as one chunk, and backspace takes back a whole character.
      for (const key of String(chunk)) {
        if (key === "\r" || key === "\n" || key === "\u0004") {
          end();
          return;
        }
        if (key === "\u0003") {
          const cancelled = new SidekeyError("CONFIG_USAGE", {
            detail: "Cancelled before anything was read.",
            hint: "Type the value and Enter, or give it on standard input.",
          });
          finish(() => reject(cancelled));
          return;
        }
        if (key === "\u007f" || key === "\b") typed = [...typed].slice(0, -1).join("");
        else if (key === "\u0015") typed = "";
        else typed += key;
      }
    };
    errors.write(`${prompt}: `);
    input.setRawMode?.(true);
    input.on("data", read);
    input.once("end", end);
    input.resume();
  });
