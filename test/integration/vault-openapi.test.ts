/** The OpenAPI document, as the server gives it: each operation with examples, each of them what its schema says. */
import { Ajv2020 } from "ajv/dist/2020.js";
import { expect, it } from "vitest";
import { startTestVault } from "../support/vault/test-vault.ts";

interface Media {
  readonly schema?: object;
  readonly example?: unknown;
}

interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly schema: object;
    readonly example?: unknown;
  }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> };
  readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, Media>> }>>;
}

const DATE_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/;

it("shows of each operation what is sent and what is answered, as its own schemas have it", async () => {
  const vault = await startTestVault();
  const { json: document } = await vault.call("GET", "/v1/openapi.json", { as: null });
  const ajv = new Ajv2020({ strict: false, formats: { "date-time": DATE_TIME } });
  const faults: unknown[] = [];
  const check = (where: string, schema: object | undefined, example: unknown): void => {
    if (example === undefined || schema === undefined) faults.push([where, "is missing"]);
    else if (!ajv.validate(schema, example)) faults.push([where, ajv.errorsText()]);
  };
  const operations: Operation[] = Object.values(document.paths).flatMap((methods) => Object.values(methods ?? {}));
  for (const { operationId, parameters = [], requestBody, responses } of operations) {
    for (const { name, in: place, schema, example } of parameters) {
      if (place === "path") check(`${operationId} ${name}`, schema, example);
    }
    for (const { schema, example } of Object.values(requestBody?.content ?? {})) {
      check(`${operationId} body`, schema, example);
    }
    for (const [status, { content = {} }] of Object.entries(responses)) {
      if (!status.startsWith("2")) continue;
      for (const { schema, example } of Object.values(content)) check(`${operationId} ${status}`, schema, example);
    }
  }
  expect(faults).toEqual([]);
  expect(operations.length).toBeGreaterThan(35);
});
