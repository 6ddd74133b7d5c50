/** A strict reader of Prometheus' text format, version 0.0.4: a line that the format does not know is an error. */

export interface Family {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly samples: readonly Sample[];
}

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Exposition {
  readonly families: ReadonlyMap<string, Family>;
  /** All samples of that name with those labels, among others they may have. */
  find(name: string, labels?: Readonly<Record<string, string>>): readonly Sample[];
  /** Of the one sample that `find` finds. */
  value(name: string, labels?: Readonly<Record<string, string>>): number;
}

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/gy;

export const parseExposition = (text: string): Exposition => {
  if (!text.endsWith("\n")) throw new Error("no newline at the end");
  const families = new Map<string, Family & { readonly samples: Sample[] }>();
  const series = new Set<string>();
  let help = "";
  let family: (Family & { readonly samples: Sample[] }) | undefined;
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const [, about, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (about === "HELP") {
      help = rest;
      continue;
    }
    if (about === "TYPE") {
      if (families.has(name)) throw new Error(`twice: ${name}`);
      family = { name, type: rest, help, samples: [] };
      families.set(name, family);
      continue;
    }
    const sample = parseSample(line);
    const base = family?.type === "histogram" ? sample.name.replace(/_(?:bucket|sum|count)$/, "") : sample.name;
    if (family === undefined || base !== family.name) throw new Error(`not of the family: ${line}`);
    const key = line.slice(0, line.lastIndexOf(" "));
    if (series.has(key)) throw new Error(`twice: ${key}`);
    series.add(key);
    family.samples.push(sample);
  }
  const find: Exposition["find"] = (name, labels = {}) =>
    [...families.values()]
      .flatMap(({ samples }) => samples)
      .filter(
        (sample) =>
          sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
      );
  return {
    families,
    find,
    value(name, labels) {
      const found = find(name, labels);
      const [only] = found;
      if (only === undefined || found.length > 1)
        throw new Error(`${found.length} of ${name} ${JSON.stringify(labels)}`);
      return only.value;
    },
  };
};

const parseSample = (line: string): Sample => {
  const [, name, inner = "", text = ""] = SAMPLE.exec(line) ?? [];
  if (name === undefined) throw new Error(`no sample: ${line}`);
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  let read = 0;
  for (let found = LABEL.exec(inner); found !== null; found = LABEL.exec(inner)) {
    const [whole, label = "", value = ""] = found;
    labels[label] = value.replace(/\\(.)/g, (_, escaped: string) => (escaped === "n" ? "\n" : escaped));
    read += whole.length;
  }
  if (read !== inner.length) throw new Error(`labels: ${line}`);
  // prom-client writes "Nan", which Prometheus reads as NaN.
  const value = text === "+Inf" ? Number.POSITIVE_INFINITY : Number(text);
  if (Number.isNaN(value) && !/^nan$/i.test(text)) throw new Error(`value: ${line}`);
  return { name, labels, value };
};
