/** For `check`: what a vault's source would not find when it starts. Reads no further than it must, and shows nothing. */
import { accessSync, constants } from "node:fs";
import { resolve } from "node:path";
import { type Environment, readCredential } from "../../../config/credential.ts";
import type { Finding, KeyPath } from "../../../config/problem.ts";
import { toSidekeyError } from "../../../core/errors.ts";
import { systemCode } from "../../../core/whole-file.ts";
import type { SidecarConfig } from "./model.ts";

export const missingCredentials = ({ sources, baseDir }: SidecarConfig, environment: Environment): readonly Finding[] =>
  sources.flatMap(({ name, fields }) => {
    if (fields.kind !== "sidekey") return [];
    const found: Finding[] = [];
    const at: KeyPath = ["sources", name];
    for (const key of ["agent_key", "token"] as const) {
      const credential = fields[key];
      if (credential === undefined) continue;
      try {
        readCredential(credential, { baseDir, environment });
      } catch (error) {
        const { detail, publicMessage, hint } = toSidekeyError(error);
        found.push({ path: [...at, key], message: detail ?? publicMessage, hint: credentialHint[key] ?? hint });
      }
    }
    if (fields.ca !== undefined) {
      try {
        accessSync(resolve(baseDir, fields.ca), constants.R_OK);
      } catch (error) {
        found.push({ path: [...at, "ca"], message: `cannot be read (${systemCode(error)})`, hint: "Name a PEM file." });
      }
    }
    return found;
  });

const credentialHint: Readonly<Record<string, string>> = {
  agent_key: "An operator makes an agent and its key: sidekey agent create NAME --vault URL.",
  token: 'An operator issues one for this sidecar: sidekey token issue --jkt "$(sidekey identity)" --vault URL.',
};
