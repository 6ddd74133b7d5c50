/** The text of a `.env` file into a namespace of the vault, read by the vault itself. */
import * as z from "zod";
import { name, optional } from "./answers.ts";
import type { Calls } from "./calls.ts";
import type { Credentials } from "./credentials.ts";
import { type SecretTraits, traitsBody } from "./secrets.ts";

export interface ImportRequest extends SecretTraits {
  readonly namespace: string;
  /** Lines `NAME=VALUE`. */
  readonly content: string;
  /** Says what would be imported, and changes nothing. */
  readonly dryRun?: boolean;
  /** False keeps what is there; default true. */
  readonly overwrite?: boolean;
  readonly token?: string;
}

export interface Imported {
  readonly namespace: string;
  /** Paths or names, as the vault gives them. */
  readonly imported: readonly string[];
  readonly skipped: readonly string[];
}

const names = z.array(name).max(100_000);
const importedSchema = z.object({ namespace: name, imported: names, skipped: optional(names) });

/** Errors: all of errors.ts. */
export const importEnv = (
  calls: Calls,
  credentials: Pick<Credentials, "forSecret">,
  { namespace, content, dryRun, overwrite, token, ...traits }: ImportRequest,
): Promise<Imported> =>
  credentials.forSecret("write", `${namespace}/*`, token, async (credential) => {
    const body = { namespace, content, dry_run: dryRun, overwrite, ...traitsBody(traits) };
    const { imported, skipped = [] } = await calls.json(
      {
        method: "POST",
        path: "/v1/secrets/import",
        credential,
        body,
        repeatable: false,
        what: namespace,
        sensitive: valuesOf(content),
      },
      importedSchema,
    );
    return { namespace, imported, skipped };
  });

/** Whatever may be a value, so that no message of the vault's brings one back. */
const valuesOf = (content: string): readonly string[] =>
  content.split("\n").flatMap((line) => {
    const value = line
      .slice(line.indexOf("=") + 1)
      .trim()
      .replace(/^["']|["']$/g, "");
    return value.length < 4 ? [] : [value];
  });
