/**
 * Where values of secrets are kept: in the store itself (`local`), or with somebody else, to whom the store holds a
 * reference alone. A backend is one file here and one line below. This version has none but `local`: a reference can be
 * written, listed and moved, and reading one is refused. Must never take a wider answer for one that is not there.
 */
import type { Environment } from "../../config/credential.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { SecretValue } from "../../core/secret-value.ts";
import type { ReferenceBackend, SecretReference } from "../secrets/types.ts";

export interface SecretBackend {
  /** The value as it is there now. Errors: VAULT_BACKEND_UNAVAILABLE, VAULT_SECRET_MISSING. */
  read(ref: string): Promise<SecretValue>;
}

/** By the name that a reference holds. */
export type SecretBackends = Readonly<Partial<Record<ReferenceBackend, SecretBackend>>>;

export const SECRET_BACKENDS: SecretBackends = {};

/** Errors: VAULT_BACKEND_UNAVAILABLE, and what the backend says. */
export const readReference = async (
  backends: SecretBackends,
  { backend, ref }: SecretReference,
): Promise<SecretValue> => {
  const found = backends[backend];
  if (found === undefined) throw unavailable(`Its value is kept in ${NAMES[backend]}.`);
  return found.read(ref);
};

const NAMES: Readonly<Record<ReferenceBackend, string>> = {
  aws_sm: "AWS Secrets Manager",
  vault: "HashiCorp Vault",
};

export const BACKEND_VARIABLE = "SECRET_BACKEND";

/**
 * What `SECRET_BACKEND` asks for has to be what is there: whoever set it to another backend must not find out later that
 * values went into the store. Errors: VAULT_BACKEND_UNAVAILABLE, CONFIG_USAGE (no backend's name).
 */
export const checkBackendVariable = (environment: Environment): void => {
  const name = Object.hasOwn(environment, BACKEND_VARIABLE) ? environment[BACKEND_VARIABLE] : undefined;
  if (name === undefined || name === "" || name === "local") return;
  const meant = REFERENCES_BY_VARIABLE.get(name);
  if (meant !== undefined) throw unavailable(`${BACKEND_VARIABLE} asks for ${NAMES[meant]}.`);
  throw new SidekeyError("CONFIG_USAGE", {
    detail: `${BACKEND_VARIABLE} is set to what is no backend.`,
    hint: `Set ${BACKEND_VARIABLE}=local, or unset it.`,
  });
};

const REFERENCES_BY_VARIABLE: ReadonlyMap<string, ReferenceBackend> = new Map([
  ["aws_sm", "aws_sm"],
  ["aws-sm", "aws_sm"],
  ["vault", "vault"],
]);

const unavailable = (detail: string): SidekeyError => new SidekeyError("VAULT_BACKEND_UNAVAILABLE", { detail });
