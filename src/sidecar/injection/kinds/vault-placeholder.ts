/**
 * For agents that ask the vault for their key and get a placeholder: it is swapped for the secret that it stands for, where
 * the agent sends it. Which secret that is, and whose, the vault knows and not the file.
 */
import * as z from "zod";
import type { Kind } from "../../../core/kind.ts";
import { swapPlaces } from "../fields.ts";
import type { IssuedInjector } from "../injector.ts";

/** As a scope's path: `*` stands for any run of characters. */
const pathGlob = z
  .string()
  .max(1024)
  .regex(
    /^[A-Za-z0-9._/*-]+$/,
    "must be a path of the vault: letters, digits, '.', '_', '-', '/', and '*' for any run",
  );

const fields = z.strictObject({
  kind: z.literal("vault-placeholder"),
  in: swapPlaces,
  source: z.string().optional().describe("The vault that issued it: a source of kind sidekey. Default: the first."),
  secrets: z
    .array(pathGlob)
    .min(1)
    .max(64)
    .describe("Paths of the secrets that it may stand for here; '*' is any run of characters."),
});

export const vaultPlaceholder: Kind<"vault-placeholder", typeof fields, void, IssuedInjector> = {
  kind: "vault-placeholder",
  fields,
  summary: "swaps a placeholder that the vault gave to an agent, in one of the places of 'in', for what it stands for",
  create: ({ in: places }) => ({ kind: "vault-placeholder", places, isIssued: true, derived: () => [] }),
};
