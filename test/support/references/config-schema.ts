/** config/schema.json, made from the zod schemas: what an editor checks is what the program reads. */
import { z } from "zod";
import { createPresetLibrary } from "../../../src/sidecar/app/config/presets.ts";
import { rootSchema } from "../../../src/sidecar/app/config/schema.ts";
import { vaultFileSchema } from "../../../src/vault/server/config/schema.ts";

/**
 * Draft 7 is what the YAML language server and the JetBrains editors know best. Of what a transform checks only the
 * coarse form gets here, so the schema takes some files that `sidekey check` refuses, and never the other way round.
 */
export const renderConfigSchema = (): string => {
  const schema = z.toJSONSchema(rootSchema, { io: "input", target: "draft-7", unrepresentable: "throw" });
  namePresets(schema);
  const { $schema, ...rest } = schema;
  const document = {
    $schema,
    $comment: "Made by test/unit/config/schema.test.ts. To renew it: npm test -- --project unit schema -u",
    title: "sidekey.yaml",
    ...rest,
  };
  return `${JSON.stringify(document, null, 2)}\n`;
};

/** config/vault-schema.json: the same of vault.yaml. */
export const renderVaultSchema = (): string => {
  const schema = z.toJSONSchema(vaultFileSchema, { io: "input", target: "draft-7", unrepresentable: "throw" });
  const { $schema, ...rest } = schema;
  const document = {
    $schema,
    $comment:
      "Made by test/unit/vault/server/config/config.test.ts. To renew it: npm test -- --project unit vault/server/config -u",
    title: "vault.yaml",
    ...rest,
  };
  return `${JSON.stringify(document, null, 2)}\n`;
};

/** Which presets there are, the program sees from their files; an editor is to offer them. */
const namePresets = (node: unknown): void => {
  if (typeof node !== "object" || node === null) return;
  for (const [key, value] of Object.entries(node)) {
    if (key === "preset") Object.assign(value, { enum: createPresetLibrary().names() });
    else namePresets(value);
  }
};
