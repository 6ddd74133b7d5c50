/** What `doctor` prints: for people, in sections; the worst is easy to see without colour too. */
import type { Paint } from "../terminal.ts";
import type { ClientResult } from "./clients/trial.ts";
import type { Finding, Level } from "./finding.ts";

export interface Section {
  readonly title: string;
  readonly findings: readonly Finding[];
}

const WORDS: Readonly<Record<Level, string>> = { ok: "ok", info: "note", warn: "WARN", fail: "FAIL" };

export const describeSections = (sections: readonly Section[], paint: Paint): string =>
  sections
    .map(({ title, findings }) =>
      [paint.bold(title), ...findings.flatMap((finding) => describe(finding, paint))].join("\n"),
    )
    .join("\n\n");

const describe = ({ level, what, text, hint }: Finding, paint: Paint): readonly string[] =>
  entry(level, WORDS[level], `${what}: ${text}`, hint, paint);

const entry = (level: Level, word: string, text: string, hint: string | undefined, paint: Paint): readonly string[] => [
  `  ${colour(level, paint)(word.padEnd(5))} ${text}`,
  ...(hint === undefined ? [] : hint.split("\n").map((line) => (line === "" ? "" : `        ${line}`))),
];

const colour = (level: Level, paint: Paint): ((text: string) => string) => {
  if (level === "fail") return paint.red;
  if (level === "warn") return paint.yellow;
  return level === "ok" ? paint.green : paint.dim;
};

export const describeClients = (results: readonly ClientResult[], paint: Paint): string => {
  const absent = results.filter(({ result }) => result === "absent").map(({ name }) => name);
  return [
    paint.bold("Clients, each by a call through a sidecar of its own to a stand-in on this machine"),
    ...results.flatMap((one) => describeClient(one, paint)),
    ...(absent.length === 0 ? [] : entry("info", "-", `not here: ${absent.join(", ")}`, undefined, paint)),
  ].join("\n");
};

const describeClient = (
  { name, version, result, set, reason, hint }: ClientResult,
  paint: Paint,
): readonly string[] => {
  const who = version === undefined ? name : `${name} ${version}`;
  switch (result) {
    case "works":
      return entry("ok", "ok", who, undefined, paint);
    case "needs":
      return entry("warn", "set", `${who} works with this set:`, set, paint);
    case "fails":
      return entry("fail", "FAIL", `${who}: ${reason ?? "does not work"}`, hint, paint);
    case "unknown":
      return entry("info", "?", `${who}: ${reason ?? "not tried"}`, hint, paint);
    case "absent":
      return [];
  }
};
