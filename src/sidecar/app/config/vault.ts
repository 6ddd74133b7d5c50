/** `run --vault URL`: a vault that the command line names in the place of the file's default source. */
import type { Finding } from "../../../config/problem.ts";
import { SidekeyError } from "../../../core/errors.ts";
import type { SourceConfig } from "./model.ts";
import { sourceSchema } from "./schema.ts";

export interface NamedVault {
  readonly address: string;
  /** Absolute path of a PEM file. */
  readonly ca?: string;
  /** The same, of a certificate for the vault and its key. */
  readonly certificate?: { readonly cert: string; readonly key: string };
  /** Variable that holds the agent's key. */
  readonly agentKey: string;
}

export const NAMED_VAULT = "vault";

/** Errors: CONFIG_USAGE. */
const vaultSource = ({ address, ca, certificate, agentKey }: NamedVault): SourceConfig => {
  const parsed = sourceSchema.safeParse({
    kind: "sidekey",
    address,
    agent_key: { env: agentKey },
    ...(ca !== undefined && { ca }),
    ...(certificate !== undefined && { cert: certificate.cert, cert_key: certificate.key }),
  });
  if (parsed.success) return { name: NAMED_VAULT, kind: "sidekey", fields: parsed.data };
  const { message = "" } = parsed.error.issues[0] ?? {};
  throw new SidekeyError("CONFIG_USAGE", {
    detail: `--vault ${message}.`,
    hint: "For example --vault https://vault.internal:7200.",
  });
};

/**
 * It comes first, so references without a source mean it, and in the place of one of the file's that is called `vault`.
 * Where the file names no source, `declared` is empty, and it is the only one. Errors: CONFIG_USAGE.
 */
export const withNamedVault = (
  declared: readonly SourceConfig[],
  vault: NamedVault | undefined,
  report: (finding: Finding) => void,
): readonly SourceConfig[] => {
  if (vault === undefined) return declared;
  const same = declared.find(({ name }) => name === NAMED_VAULT);
  if (same !== undefined && same.kind !== "sidekey") {
    report({
      path: ["sources", NAMED_VAULT],
      message: "has the name that the vault of --vault goes by",
      hint: "Give this source another name, or leave --vault away.",
    });
  }
  return [vaultSource(vault), ...declared.filter(({ name }) => name !== NAMED_VAULT)];
};
