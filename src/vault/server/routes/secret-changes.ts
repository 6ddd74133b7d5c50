/** Changes of a secret: made, given a new value, described, removed. */
import * as z from "zod";
import { SidekeyError } from "../../../core/errors.ts";
import type { SecretValue } from "../../../core/secret-value.ts";
import type { SecretInfo, SecretReference, SetOptions } from "../../index.ts";
import { type Call, type CallRequest, defineCall, frameOf } from "../call.ts";
import { nameOf } from "../callers/principal.ts";
import { allowedBy, beginChange, requireChange } from "../change.ts";
import type { ApiContext } from "../context.ts";
import { secondsOf } from "../wire/seconds.ts";
import { describeFields, givenValue, infoSchema, optionsOf, seconds, valueFields, wireInfo } from "../wire/secret.ts";
import { pathParams } from "../wire/types.ts";

const WHO = ["operator", "agent", "token"] as const;
const WRITE_ERRORS = ["SCOPE_DENIED", "APPROVAL_REQUIRED", "CONFLICT"] as const;

const putBody = z.strictObject({ ...valueFields, ...describeFields });

const patchBody = putBody.extend({
  grace_period_seconds: seconds
    .optional()
    .describe("How long the versions before stay readable by their number; without it they stay as they are."),
});

export const secretChangeCalls = (context: ApiContext): readonly Call[] => {
  const { vault, audit } = context;

  const store = async (
    request: CallRequest,
    path: string,
    value: SecretValue | SecretReference,
    options: SetOptions,
  ): Promise<SecretInfo> => {
    await requireChange(context, request.principal, "write", path);
    await beginChange(context, request);
    const info = await vault.secrets.set(path, value, { ...options, allow: allowedBy(request.principal) });
    await audit.record({
      event: info.version === 1 ? "secret.created" : "secret.updated",
      ...frameOf(request),
      secret: path,
      version: info.version,
    });
    return info;
  };

  /** A grace puts an end to the versions before; without one they stay as they are. */
  const patch = async (path: string, body: z.output<typeof patchBody>, options: SetOptions): Promise<SecretInfo> => {
    const { value, reference, grace_period_seconds: grace } = body;
    if (value === undefined && reference === undefined) return vault.secrets.describe(path, options);
    const given = valueIn(body);
    if (grace !== undefined) return vault.secrets.rotate(path, given, { ...options, graceMs: secondsOf(grace) * 1000 });
    return vault.secrets.set(path, given, { ...options, update: true });
  };

  return [
    defineCall({
      method: "PUT",
      path: "/v1/secrets/:path",
      operationId: "putSecret",
      tag: "secrets",
      summary: "Stores a value: a new secret, or a new version of one",
      who: WHO,
      params: pathParams,
      body: putBody,
      answers: {
        200: { description: "A new version.", schema: infoSchema },
        201: { description: "A new secret.", schema: infoSchema },
      },
      errors: WRITE_ERRORS,
      spends: true,
      async handle(request) {
        const { params, body, principal } = request;
        const info = await store(request, params["path"] ?? "", valueIn(body), optionsOf(body, nameOf(principal)));
        return { status: info.version === 1 ? 201 : 200, body: wireInfo(info) };
      },
    }),
    defineCall({
      method: "POST",
      path: "/v1/secrets",
      operationId: "createSecret",
      tag: "secrets",
      summary: "Stores a new secret, and no new version of one",
      who: WHO,
      body: putBody.extend({
        path: z.string().max(1024).optional().describe("NAMESPACE/KEY; or the two apart."),
        namespace: z.string().max(1024).optional(),
        key: z.string().max(128).optional(),
      }),
      answers: { 201: { description: "A new secret.", schema: infoSchema } },
      errors: WRITE_ERRORS,
      spends: true,
      async handle(request) {
        const { body, principal } = request;
        const { path = `${body.namespace ?? ""}/${body.key ?? ""}` } = body;
        const options = { ...optionsOf(body, nameOf(principal)), create: true };
        return { status: 201, body: wireInfo(await store(request, path, valueIn(body), options)) };
      },
    }),
    defineCall({
      method: "PATCH",
      path: "/v1/secrets/:path",
      operationId: "patchSecret",
      tag: "secrets",
      summary: "Changes what is said of a secret, and its value where there is one",
      who: WHO,
      params: pathParams,
      body: patchBody,
      answers: { 200: { description: "As it is now.", schema: infoSchema } },
      errors: [...WRITE_ERRORS, "SECRET_NOT_FOUND"],
      spends: true,
      async handle(request) {
        const { params, body, principal } = request;
        const path = params["path"] ?? "";
        await requireChange(context, principal, "write", path);
        await beginChange(context, request);
        const options = { ...optionsOf(body, nameOf(principal)), allow: allowedBy(principal) };
        const info = await patch(path, body, options);
        await audit.record({ event: "secret.updated", ...frameOf(request), secret: path, version: info.version });
        return { status: 200, body: wireInfo(info) };
      },
    }),
    defineCall({
      method: "DELETE",
      path: "/v1/secrets/:path",
      operationId: "deleteSecret",
      tag: "secrets",
      summary: "Removes a secret with all its versions",
      who: WHO,
      params: pathParams,
      answers: { 204: { description: "It is gone." } },
      errors: ["SCOPE_DENIED", "APPROVAL_REQUIRED", "SECRET_NOT_FOUND"],
      spends: true,
      async handle(request) {
        const path = request.params["path"] ?? "";
        await requireChange(context, request.principal, "delete", path);
        await beginChange(context, request);
        await vault.secrets.remove(path, { allow: allowedBy(request.principal) });
        await audit.record({ event: "secret.deleted", ...frameOf(request), secret: path });
        return { status: 204 };
      },
    }),
  ];
};

/** Errors: VAULT_SERVER_BAD_REQUEST (neither a value nor a reference, or both). */
const valueIn = (body: z.output<z.ZodObject<typeof valueFields>>): SecretValue | SecretReference => {
  const value = givenValue(body);
  if (value === undefined) throw new SidekeyError("VAULT_SERVER_BAD_REQUEST");
  return value;
};
