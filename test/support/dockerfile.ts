/**
 * A Dockerfile, read as far as ours goes. What it does not know is an error: a step that no test runs must not look as if
 * one did.
 */
export interface CopyStep {
  readonly kind: "copy";
  /** Name of the stage that is copied from; absent = the build context. */
  readonly from?: string;
  readonly sources: readonly string[];
  readonly to: string;
}

export interface RunStep {
  readonly kind: "run";
  readonly command: string;
}

export interface Stage {
  readonly name: string;
  readonly base: string;
  readonly steps: readonly (CopyStep | RunStep)[];
  readonly workdir: string;
  readonly environment: Readonly<Record<string, string>>;
  /** `uid:gid`; undefined = root. */
  readonly user: string | undefined;
  readonly ports: readonly number[];
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly healthcheck: readonly string[];
}

type Draft = { -readonly [Key in keyof Stage]: Stage[Key] };

/** The stages in order. Errors: TypeError with the line. */
export const parseDockerfile = (text: string): readonly Stage[] => {
  const stages: Draft[] = [];
  for (const line of logicalLines(text)) {
    const [, word = "", rest = ""] = /^(\w+)\s+(.*)$/s.exec(line) ?? [];
    if (word === "FROM") {
      const [, base = "", name = String(stages.length)] = /^(\S+)(?: AS (\S+))?$/.exec(rest) ?? [];
      stages.push({ ...EMPTY, base, name });
      continue;
    }
    const stage = stages.at(-1);
    const act = ACTS[word];
    if (stage === undefined || act === undefined) throw new TypeError(`not known in a Dockerfile of ours: ${line}`);
    act(stage, rest);
  }
  return stages;
};

const EMPTY: Stage = {
  name: "",
  base: "",
  steps: [],
  workdir: "/",
  environment: {},
  user: undefined,
  ports: [],
  entrypoint: [],
  command: [],
  healthcheck: [],
};

const logicalLines = (text: string): readonly string[] =>
  text
    .split("\n")
    .filter((line) => !/^\s*#/.test(line))
    .join("\n")
    .replaceAll(/\\\n/g, " ")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");

const words = (text: string): readonly string[] => text.split(/\s+/);

const ACTS: Readonly<Record<string, (stage: Draft, rest: string) => void>> = {
  LABEL: () => {},
  WORKDIR(stage, rest) {
    stage.workdir = rest;
  },
  ENV(stage, rest) {
    const pairs = words(rest).map((pair) => pair.split("="));
    for (const [name = "", value = ""] of pairs) stage.environment = { ...stage.environment, [name]: value };
  },
  USER(stage, rest) {
    stage.user = rest;
  },
  EXPOSE(stage, rest) {
    stage.ports = words(rest).map(Number);
  },
  COPY(stage, rest) {
    const flags = words(rest).filter((word) => word.startsWith("--"));
    const from = flags.find((flag) => flag.startsWith("--from="))?.slice("--from=".length);
    if (flags.length > (from === undefined ? 0 : 1)) throw new TypeError(`COPY with flags that no test obeys: ${rest}`);
    const paths = words(rest).filter((word) => !word.startsWith("--"));
    const step = { kind: "copy" as const, sources: paths.slice(0, -1), to: paths.at(-1) ?? "" };
    stage.steps = [...stage.steps, { ...step, ...(from !== undefined && { from }) }];
  },
  RUN(stage, rest) {
    stage.steps = [...stage.steps, { kind: "run", command: rest }];
  },
  HEALTHCHECK(stage, rest) {
    stage.healthcheck = JSON.parse(rest.slice(rest.indexOf("["))) as string[];
  },
  ENTRYPOINT(stage, rest) {
    stage.entrypoint = JSON.parse(rest) as string[];
  },
  CMD(stage, rest) {
    stage.command = JSON.parse(rest) as string[];
  },
};
