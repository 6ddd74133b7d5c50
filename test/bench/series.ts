/** What the benches have in common that measure subjects by turns: their options, and what becomes of signals and figures. */
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";

export interface SeriesOptions {
  readonly connections: readonly number[];
  readonly runs: number;
  readonly seconds: number;
  readonly warmSeconds: number;
  readonly json: string | undefined;
  readonly nodeArguments: readonly string[];
}

export interface SeriesDefaults {
  readonly usage: string;
  /** As on a command line. */
  readonly connections: string;
  readonly warm: string;
  /** Lists by option: the names that may be in each, all of them when nothing is said. */
  readonly lists: Readonly<Record<string, readonly string[]>>;
}

/** With the names chosen of each list. Ends the process at `--help`. */
export const readSeriesOptions = (
  args: readonly string[],
  { usage, connections, warm, lists }: SeriesDefaults,
): SeriesOptions & { readonly chosen: (list: string) => readonly string[] } => {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...Object.fromEntries(
        Object.entries(lists).map(([list, names]) => [list, { type: "string", default: names.join(",") } as const]),
      ),
      connections: { type: "string", default: connections },
      runs: { type: "string", default: "3" },
      seconds: { type: "string", default: "5" },
      warm: { type: "string", default: warm },
      json: { type: "string" },
      "node-arguments": { type: "string", default: "" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    process.exit(0);
  }
  const positive = (text: string): number => {
    const value = Number(text);
    if (!(value > 0)) throw new Error(`not a number above 0: ${text}\n${usage}`);
    return value;
  };
  const given: Readonly<Record<string, unknown>> = values;
  return {
    chosen: (list) =>
      String(given[list])
        .split(",")
        .map((name) => {
          if (!lists[list]?.includes(name)) throw new Error(`there is no ${name}\n${usage}`);
          return name;
        }),
    connections: values.connections.split(",").map(positive),
    runs: positive(values.runs),
    seconds: positive(values.seconds),
    warmSeconds: positive(values.warm),
    json: values.json,
    nodeArguments: values["node-arguments"].split(" ").filter(Boolean),
  };
};

/** Standard error, so that `--json -` leaves standard output to the JSON. */
export const say = (text: string): void => {
  process.stderr.write(`${text}\n`);
};

/** The table for people, the figures as JSON to a file, or in its place to standard output. */
export const writeFigures = async (json: string | undefined, table: string, figures: object): Promise<void> => {
  const text = `${JSON.stringify({ node: process.version, ...figures }, null, 2)}\n`;
  if (json === "-") process.stdout.write(text);
  else {
    console.log(table);
    if (json !== undefined) await writeFile(json, text);
  }
};

/** What is running is ended by a signal, its failure ends `work`, and `close` runs in any case. */
export const closedAfter = async (close: () => Promise<void>, work: () => Promise<void>): Promise<void> => {
  const onSignal = (): void => {
    say("interrupted");
    process.exitCode = 130;
    void close();
  };
  process.once("SIGINT", onSignal);
  process.once("SIGTERM", onSignal);
  try {
    await work();
  } finally {
    await close();
  }
};

/** The whole of a bench: its failure is said and is the exit code. */
export const runBench = async (bench: () => Promise<void>): Promise<void> => {
  try {
    await bench();
  } catch (error) {
    if (process.exitCode === 130) return;
    say(`bench: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
};
