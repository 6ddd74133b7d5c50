/**
 * The files that decide where keys go, or that open them: none may be changed by somebody else (guarantees.md F6).
 * `start` refuses, also at each reload; `run` has read them and says so in its log.
 */
import { resolve } from "node:path";
import { SidekeyError } from "../../../core/errors.ts";
import { type Exposure, findExposure } from "../../../core/file-ownership.ts";
import type { SidecarConfig } from "./model.ts";
import { programsOf } from "./programs.ts";

/** Errors: CONFIG_INVALID. */
export const refuseExposedFile = (path: string): void => {
  const exposure = findExposure(path);
  if (exposure !== undefined) throw refusal(path, exposure);
};

/** Errors: CONFIG_INVALID. */
export const refuseExposedFiles = (config: SidecarConfig): void => {
  for (const path of filesOf(config)) refuseExposedFile(path);
};

/** Every way in which somebody else could change a file of this configuration, or put another state in its place. */
export const exposures = (config: SidecarConfig): readonly Exposure[] =>
  [...filesOf(config), config.state].flatMap((path) => findExposure(path) ?? []);

/** What a reload reads besides the file: a change of these is one of the file. Absolute. */
export const readAtReload = ({ baseDir, upstream, sources }: SidecarConfig): readonly string[] => {
  const credentials = [...credentialFiles(upstream.proxy), ...sources.flatMap(({ fields }) => [...tokenFiles(fields)])];
  return [...(upstream.ca === undefined ? [] : [upstream.ca]), ...credentials.map((path) => resolve(baseDir, path))];
};

/** A source keeps its key for as long as it is open. */
const tokenFiles = (fields: object): readonly string[] => ("token" in fields ? [...credentialFiles(fields.token)] : []);

const refusal = (path: string, { path: place, reason, remedy }: Exposure): SidekeyError => {
  const what = place === path ? path : `${path}: on the way to it, ${place}`;
  return new SidekeyError("CONFIG_INVALID", {
    detail: `\n${what} ${reason}. Whoever changes it could send your keys elsewhere.`,
    hint: remedy,
  });
};

/** The file itself, the CA it adds, and the credentials, certificates and programs of its sources. Absolute. */
const filesOf = (config: SidecarConfig): readonly string[] => {
  const { file, baseDir, upstream, sources, audit } = config;
  const credentials = sources
    .flatMap(({ fields }) => [...credentialFiles(fields)])
    .map((path) => resolve(baseDir, path));
  const pems = [upstream.ca, ...sources.flatMap(tlsFiles)].flatMap((path) =>
    path === undefined ? [] : resolve(baseDir, path),
  );
  return [file, ...pems, ...credentials, ...programsOf(config), audit.key];
};

/** Whoever changes the CA could stand in for the vault; the others, for the sidecar. */
const tlsFiles = ({ fields }: SidecarConfig["sources"][number]): readonly (string | undefined)[] =>
  fields.kind === "sidekey" ? [fields.ca, fields.cert, fields.cert_key] : [];

/** Whatever a kind's fields are, a credential in them is an object of `file` alone. */
function* credentialFiles(value: unknown): Generator<string> {
  if (typeof value !== "object" || value === null) return;
  const members = Object.entries(value);
  const [first] = members;
  if (members.length === 1 && first?.[0] === "file" && typeof first[1] === "string") yield first[1];
  for (const [, member] of members) yield* credentialFiles(member);
}
