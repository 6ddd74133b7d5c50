/**
 * What a preset adds to a route. The route's own keys stand above it, one by one: a written `inject` takes the place of
 * the preset's as a whole.
 */
import type { Finding, KeyPath } from "../../../config/problem.ts";
import { nearest } from "../../../config/suggest.ts";
import { isPatternProblem, type Pattern, parseHostKey } from "../../policy/pattern.ts";
import type { Preset, PresetLibrary } from "./presets.ts";
import type { RouteFields } from "./schema.ts";

export interface PresetChecks {
  readonly presets: PresetLibrary;
  report(finding: Finding): void;
  warn(finding: Finding): void;
}

/** The preset of a route; "unknown" for one that was reported. */
export const presetOf = (
  name: string,
  path: KeyPath,
  fields: RouteFields,
  { presets, report, warn }: PresetChecks,
): Preset | "unknown" | undefined => {
  if (fields.preset !== undefined) {
    const preset = presets.get(fields.preset);
    if (preset !== undefined) return preset;
    const meant = nearest(fields.preset, presets.names());
    report({
      path: [...path, "preset"],
      message: "is not a preset",
      hint: meant === undefined ? `There are: ${presets.names().join(", ")}.` : `Did you mean '${meant}'?`,
    });
    return "unknown";
  }
  if (fields.match === undefined) {
    const key = parseHostKey(name);
    return isPatternProblem(key) ? undefined : presetFor(key, presets);
  }
  if (fields.inject === undefined) {
    for (const pattern of [fields.match].flat()) {
      const preset = presetFor(pattern, presets);
      if (preset === undefined || isPlainBearer(preset)) continue;
      warn({
        path: [...path, "match"],
        message: `has no 'inject', so the secret goes out as 'Authorization: Bearer'; for ${preset.title} the preset sends it otherwise`,
        hint: `Add preset: ${preset.name}`,
      });
      break;
    }
  }
  return undefined;
};

/** The route's keys, filled from the preset. `match` only where the preset was asked for by name: elsewhere the key is it. */
export const withPreset = (fields: RouteFields, preset: Preset | undefined): RouteFields => {
  if (preset === undefined) return fields;
  const named = fields.preset !== undefined;
  return {
    ...fields,
    ...(named && fields.match === undefined && { match: preset.match }),
    inject: fields.inject ?? preset.inject,
    ...(named && fields.gateway === undefined && fields.match === undefined && { gateway: preset.gateway }),
  };
};

const presetFor = (pattern: Pattern, presets: PresetLibrary): Preset | undefined => {
  const name = presets.nameFor(pattern);
  return name === undefined ? undefined : presets.get(name);
};

const isPlainBearer = ({ inject: [first, ...others] }: Preset): boolean =>
  others.length === 0 && first?.kind === "bearer" && first.name === "Authorization";
