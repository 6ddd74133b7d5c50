/**
 * Variables in the forms in which shells, `.env` files, Dockerfiles and Kubernetes take them. A value arrives exactly,
 * or the form refuses it by its name: those who read `.env` files and Dockerfiles do not agree on escapes, so none is used.
 */
import { SidekeyError } from "../core/errors.ts";

export interface FormatInput {
  /** Name to value. */
  readonly variables: Readonly<Record<string, string>>;
  /** What belongs behind the agent's own NODE_OPTIONS; undefined = nothing. */
  readonly nodeOption: string | undefined;
}

interface Format {
  /** Can add to a variable instead of replacing it. */
  readonly appends: boolean;
  /** Errors: CONFIG_USAGE. */
  print(input: FormatInput): string;
}

export const FORMATS = ["shell", "dotenv", "docker", "kubernetes"] as const;
export type FormatName = (typeof FORMATS)[number];

export const isFormat = (name: string): name is FormatName => (FORMATS as readonly string[]).includes(name);

const lines = (
  { variables }: FormatInput,
  line: (name: string, value: string) => string,
  first: readonly string[] = [],
): string => [...first, ...Object.entries(variables).map(([name, value]) => line(name, value))].join("\n");

/** POSIX: nothing is special inside single quotes but their end. */
const shellQuote = (value: string): string => `'${value.replaceAll("'", `'\\''`)}'`;

/** Every reader takes it as it stands, without quotes. */
const PLAIN = /^[A-Za-z0-9_./:@%+,=-]*$/;
/** Every reader takes it as it stands, inside single quotes: python-dotenv alone knows escapes there. */
const SINGLE_QUOTABLE = /^[^'\\\p{Cc}\p{Cs}\u2028\u2029]*$/u;

const plainOrQuoted =
  (form: string) =>
  (name: string, value: string): string => {
    if (PLAIN.test(value)) return `${name}=${value}`;
    if (SINGLE_QUOTABLE.test(value)) return `${name}='${value}'`;
    throw new SidekeyError("CONFIG_USAGE", {
      detail: `The value of ${name} has a quote, a backslash or a control character, which readers of ${form} take differently.`,
      hint: "Use another --format, or a directory without them: --ca DIR, 'tls.export' or 'state'.",
    });
  };

const dotenvLine = plainOrQuoted(".env files");
const dockerLine = plainOrQuoted("Dockerfiles");

export const formatOf: Readonly<Record<FormatName, Format>> = {
  shell: {
    appends: true,
    print: (input) => {
      const text = lines(input, (name, value) => `export ${name}=${shellQuote(value)}`);
      if (input.nodeOption === undefined) return text;
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell that expands this.
      return `${text}\nexport NODE_OPTIONS="${"${NODE_OPTIONS:+$NODE_OPTIONS }"}"${shellQuote(input.nodeOption)}`;
    },
  },
  dotenv: { appends: false, print: (input) => lines(input, dotenvLine) },
  docker: { appends: false, print: (input) => lines(input, (name, value) => `ENV ${dockerLine(name, value)}`) },
  kubernetes: {
    appends: false,
    print: (input) =>
      lines(
        input,
        // A JSON string is YAML; Kubernetes itself expands `$(NAME)`, and reads `$$` as one `$`.
        (name, value) => `  - name: ${name}\n    value: ${JSON.stringify(value.replaceAll("$", "$$$$"))}`,
        ["env:"],
      ),
  },
};
