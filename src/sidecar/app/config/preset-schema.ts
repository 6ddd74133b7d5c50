/** The shape of a file in `config/presets/`: what one provider's API takes, as data. Its parts are those of a route. */
import * as z from "zod";
import { origin } from "../../../config/addresses.ts";
import { variableName } from "../../../config/units.ts";
import { shapeProblem } from "./placeholder.ts";
import { namedInjectionSchema, patternSchema } from "./schema.ts";

const oneOrMore = <T extends z.ZodType>(type: T) => z.union([type.transform((one) => [one]), z.array(type).min(1)]);

/** Text with variables in braces: `{ACCOUNT}:{TOKEN}`. */
const TEMPLATE = /^(?:[!-z|~]|\{[A-Z][A-Z0-9_]*\})+$/;

/** Made when a preset is read: a file without one need not wait for it. */
export const createPresetSchema = () => {
  /** A reference names a secret of somebody's vault, which a preset can't know: only a member of the route's. */
  const injection = namedInjectionSchema.refine(
    ({ secret }) => secret === undefined || /^#[A-Za-z0-9_]+$/.test(secret),
    {
      error: "the secret of a preset's injection is a member of the route's, like '#app_key'",
    },
  );
  const shape = z.string().superRefine((text, context) => {
    const problem = shapeProblem(text);
    if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
  });
  const template = z.string().regex(TEMPLATE, "must be text with variables like {API_TOKEN}");
  return z.strictObject({
    /** As its vendor writes it. */
    title: z.string().min(1).max(64),
    /** Page of the vendor that says how the credential is sent. */
    documentation: z.url({ protocol: /^https$/ }),
    match: oneOrMore(patternSchema),
    /** False: a host of it stands for another preset, or for none, where a route is written `HOST: REF`. */
    short_form: z.boolean().default(true),
    inject: oneOrMore(injection),
    /** Variables that its SDKs read the credential from. */
    env: z.array(variableName).max(8).default([]),
    /** What its SDKs take for a key. */
    placeholder: shape.optional(),
    /** How real keys begin, where nobody else's do. */
    prefixes: z.array(z.string().min(3)).default([]),
    /** What is stored, of which variables; default: the value of one of `env`. A map is stored as a JSON object. */
    secret: z.union([template, z.record(z.string().regex(/^[a-z_]+$/), template)]).optional(),
    /** Variables that its SDKs read a base URL from: the path that belongs behind the gateway's address. */
    base_url: z.record(variableName, z.string().regex(/^(?:\/[A-Za-z0-9._-]+)*$/)).default({}),
    gateway: origin.optional(),
  });
};

export type PresetSchema = ReturnType<typeof createPresetSchema>;
export type PresetFields = z.output<PresetSchema>;
