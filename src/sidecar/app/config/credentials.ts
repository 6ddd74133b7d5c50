/** For `check`: what a vault's source would not find when it starts. Reads no further than it must, and shows nothing. */
import { readClientTls } from "../../../config/client-tls.ts";
import { type Environment, readCredential } from "../../../config/credential.ts";
import type { Finding, KeyPath } from "../../../config/problem.ts";
import type { EpochMs } from "../../../core/clock.ts";
import { toSidekeyError } from "../../../core/errors.ts";
import { isValidAt, validityOf, validityWords } from "../../../core/validity.ts";
import { tlsFilesOf } from "../../secrets/vault-session/tls-watch.ts";
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
    for (const { key, path, reason, hint } of readClientTls(tlsFilesOf(fields, baseDir)).faults) {
      found.push({ path: [...at, key], message: `${path} ${reason}`, hint: hint ?? "Name a PEM file." });
    }
    return found;
  });

/** Certificates for a vault that are not good now. It may be renewed before the sidecar starts. */
export const endedCertificates = ({ sources, baseDir }: SidecarConfig, now: EpochMs): readonly Finding[] =>
  sources.flatMap(({ name, fields }) => {
    if (fields.kind !== "sidekey") return [];
    const { certificate } = readClientTls(tlsFilesOf(fields, baseDir)).tls;
    const validity = certificate === undefined ? undefined : validityOf(certificate.cert);
    if (validity === undefined || isValidAt(validity, now)) return [];
    const message = `is not valid now (${validityWords(validity)}), so the vault will take no connection`;
    return [
      {
        path: ["sources", name, "cert"],
        message,
        hint: "Renew it, and its key with it; the sidecar reads both again.",
      },
    ];
  });

const credentialHint: Readonly<Record<string, string>> = {
  agent_key: "An operator makes an agent and its key: sidekey agent create NAME --vault URL.",
  token: 'An operator issues one for this sidecar: sidekey token issue --jkt "$(sidekey identity)" --vault URL.',
};
