/** Versions of a secret: rotated, brought back, and many at once from a `.env` file. */
import { randomBytes } from "node:crypto";
import * as z from "zod";
import { MAX_ENV_BYTES, readEnvFile } from "../../../config/env-file.ts";
import { SidekeyError } from "../../../core/errors.ts";
import { SecretValue } from "../../../core/secret-value.ts";
import { SECRET_TIERS, SECRET_TYPES, type SecretInfo } from "../../index.ts";
import { importEnv } from "../../secrets/env-import.ts";
import { type Call, defineCall, frameOf, requireUsesLeft } from "../call.ts";
import { covers, nameOf } from "../callers/principal.ts";
import { allowedBy, beginChange, requireChange } from "../change.ts";
import type { ApiContext } from "../context.ts";
import { secondsOf } from "../wire/seconds.ts";
import { describeFields, infoSchema, seconds, valueText, wireInfo } from "../wire/secret.ts";
import { pathParams } from "../wire/types.ts";

const WHO = ["operator", "agent", "token"] as const;
const ERRORS = ["SCOPE_DENIED", "APPROVAL_REQUIRED", "SECRET_NOT_FOUND"] as const;
/** Of a value that the vault makes. */
const RANDOM_BYTES = 32;

const value = valueText.optional();

export const secretVersionCalls = (context: ApiContext): readonly Call[] => {
  const { vault, audit } = context;

  const requireSecret = async (path: string): Promise<SecretInfo> => {
    const info = await vault.secrets.find(path);
    if (info === undefined) throw new SidekeyError("VAULT_SECRET_MISSING");
    return info;
  };

  return [
    defineCall({
      method: "POST",
      path: "/v1/secrets/:path/rotate",
      operationId: "rotateSecret",
      tag: "secrets",
      summary: "A new value, and an end to the ones before",
      description:
        "Without a value the vault makes one of 32 random bytes (base64url), for secrets of type custom alone.",
      who: WHO,
      params: pathParams,
      body: z.strictObject({
        new_value: value.describe("The new value."),
        value: value.describe("The same as new_value."),
        grace_period_seconds: seconds
          .optional()
          .describe("How long older versions stay readable. Default: not at all."),
        grace: seconds.optional().describe("The same as grace_period_seconds."),
      }),
      answers: { 200: { description: "Its newest version.", schema: infoSchema } },
      errors: ERRORS,
      spends: true,
      async handle(request) {
        const { params, body, principal } = request;
        const path = params["path"] ?? "";
        await requireChange(context, principal, "write", path);
        const { type = "custom" } = await requireSecret(path);
        const given = body.new_value ?? body.value;
        if (given === undefined && type !== "custom") throw new SidekeyError("VAULT_SERVER_BAD_REQUEST");
        const next = SecretValue.fromText(given ?? randomBytes(RANDOM_BYTES).toString("base64url"));
        await beginChange(context, request);
        const info = await vault.secrets.rotate(path, next, {
          by: nameOf(principal),
          allow: allowedBy(principal),
          graceMs: secondsOf(body.grace_period_seconds ?? body.grace ?? 0) * 1000,
        });
        await audit.record({ event: "secret.rotated", ...frameOf(request), secret: path, version: info.version });
        return { status: 200, body: wireInfo(info) };
      },
    }),
    defineCall({
      method: "POST",
      path: "/v1/secrets/:path/rollback",
      operationId: "rollBackSecret",
      tag: "secrets",
      summary: "A new version with the value of an earlier one",
      who: WHO,
      params: pathParams,
      body: z.strictObject({ version: z.number().int().min(1).max(1_000_000_000).describe("Still readable.") }),
      answers: { 200: { description: "Its newest version.", schema: infoSchema } },
      errors: [...ERRORS, "SECRET_EXPIRED"],
      spends: true,
      async handle(request) {
        const { params, body, principal } = request;
        const path = params["path"] ?? "";
        await requireChange(context, principal, "write", path);
        await beginChange(context, request);
        const info = await vault.secrets.rollback(path, body.version, {
          by: nameOf(principal),
          allow: allowedBy(principal),
        });
        await audit.record({
          event: "secret.rolled_back",
          ...frameOf(request),
          secret: path,
          version: info.version,
          metadata: { restored: body.version },
        });
        return { status: 200, body: wireInfo(info) };
      },
    }),
    importCall(context),
  ];
};

const importCall = (context: ApiContext): Call => {
  const { vault, audit } = context;
  return defineCall({
    method: "POST",
    path: "/v1/secrets/import",
    operationId: "importSecrets",
    tag: "secrets",
    summary: "The lines of a .env file as secrets of a namespace, all or none",
    who: WHO,
    body: z.strictObject({
      namespace: z
        .string()
        .max(512)
        .regex(/^[A-Za-z0-9._-]+(?:\/[A-Za-z0-9._-]+)*$/),
      content: z.string().max(MAX_ENV_BYTES).describe("NAME=VALUE, one a line; empty values are left out."),
      secret_type: z.enum(SECRET_TYPES).optional(),
      access_tier: z.enum(SECRET_TIERS).optional(),
      metadata: describeFields.metadata,
      dry_run: z.boolean().default(false).describe("Only tell."),
      overwrite: z
        .boolean()
        .default(true)
        .describe("A secret that is there gets a new version: where its value differs, for a caller that may read it."),
    }),
    answers: {
      200: {
        description: "What was done, or would be.",
        schema: z.object({
          namespace: z.string(),
          imported: z.array(z.string()).describe("Names that are new or have a new version."),
          imported_count: z.number().int(),
          skipped: z.array(z.string()).describe("Names whose value is there already, is kept, or is empty."),
          keys: z.array(z.string()).describe("All names of the file."),
          dry_run: z.boolean(),
        }),
      },
    },
    errors: ["SCOPE_DENIED", "APPROVAL_REQUIRED", "CONFLICT"],
    spends: true,
    async handle(request) {
      const { body, principal } = request;
      const { namespace, content, secret_type: type, access_tier: tier, metadata, dry_run: dryRun, overwrite } = body;
      if (dryRun) requireUsesLeft(request);
      // Of each name, before the store is asked anything: who may write one of them only writes none, and learns nothing.
      const paths = readEnvFile(Buffer.from(content)).entries.map(({ name }) => `${namespace}/${name}`);
      for (const path of paths) await requireChange(context, principal, "write", path);
      const options = {
        namespace,
        content,
        by: nameOf(principal),
        allow: allowedBy(principal),
        overwrite,
        // Whether a value is there already is for those alone who could read it: others would guess until it is.
        compare: paths.every((path) => covers(principal, "read", path)),
        describe: {
          ...(type !== undefined && { type }),
          ...(tier !== undefined && { tier }),
          ...(metadata != null && { metadata }),
        },
      };
      if (!dryRun) {
        await beginChange(context, request);
      }
      const { imported: done, empty } = await importEnv(vault.secrets, { ...options, dryRun });
      const changed = done.filter(({ change }) => change === "new" || change === "changed");
      if (!dryRun) {
        await audit.recordAll(
          changed.map(({ path, version }) => ({
            event: "secret.imported" as const,
            ...frameOf(request),
            secret: path,
            version,
          })),
        );
      }
      const nameIn = ({ path }: { readonly path: string }): string => path.slice(namespace.length + 1);
      const imported = changed.map(nameIn);
      const keys = [...done.map(nameIn), ...empty];
      return {
        status: 200,
        body: {
          namespace,
          imported,
          imported_count: imported.length,
          skipped: keys.filter((name) => !imported.includes(name)),
          keys,
          dry_run: dryRun,
        },
      };
    },
  });
};
