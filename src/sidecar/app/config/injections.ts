/** The injections of a route: which secret each sends, and that no two of them write to one place. */
import type { Finding, KeyPath } from "../../../config/problem.ts";
import { isIssued, isSwap } from "../../injection/injector.ts";
import { createInjector } from "../../injection/kinds/index.ts";
import { isSamePlace, type Place, placeText } from "../../injection/place.ts";
import { isReferenceProblem, parseReference, type ReferenceContext } from "../../secrets/reference.ts";
import type { SecretRef } from "../../secrets/source.ts";
import type { PlacedPlaceholder } from "./distinct-placeholders.ts";
import type { InjectionConfig, InjectionFields, IssuedConfig, IssuedFields } from "./model.ts";
import { injectionSchema, type RouteFields } from "./schema.ts";

export interface InjectionChecks {
  readonly references: ReferenceContext;
  report(finding: Finding): void;
  warn(finding: Finding): void;
}

/** The part of a route that says what it injects. */
export interface WrittenInjections {
  /** Of the route. */
  readonly path: KeyPath;
  /** Of its `secret`. */
  readonly secretPath: KeyPath;
  readonly secret: RouteFields["secret"];
  readonly inject: RouteFields["inject"];
  /** Some keys were refused already: what is missing here may stand in the file. */
  readonly isPartial: boolean;
  /** For those that write none; `n`: from 0, of the route. */
  placeholder(n: number): string;
}

interface PlacedAs<Fields> {
  readonly fields: Fields;
  readonly path: KeyPath;
}
type Placed = PlacedAs<InjectionFields>;
type PlacedIssued = PlacedAs<IssuedFields>;

export interface BuiltInjections {
  readonly injections: readonly InjectionConfig[];
  /** Of those that swap one, in their order. */
  readonly placeholders: readonly PlacedPlaceholder[];
  readonly issued: IssuedConfig | undefined;
}

/** Undefined where a problem was reported. */
export const buildInjections = (written: WrittenInjections, checks: InjectionChecks): BuiltInjections | undefined => {
  const { path, secretPath, secret, inject, isPartial } = written;
  const all = placeInjections(path, inject);
  const placed = withPlaceholders(all.filter(isNamedPlaced), written.placeholder);
  const issuing = all.filter(isIssuedPlaced);
  const ref = secret === undefined ? undefined : checkedReference(secret, secretPath, checks);
  if (secret !== undefined && !placed.some(({ fields }) => usesRoutes(fields))) {
    checks.warn({ path: secretPath, message: "is used by no injection: each has a secret of its own" });
  }
  if (secret === undefined && !isPartial && placed.length > 0) reportMissing(placed, path, checks);
  const injections: InjectionConfig[] = [];
  for (const { fields, path: at } of placed) {
    const place: KeyPath = [...at, "secret"];
    const own =
      fields.secret === undefined || isMember(fields.secret)
        ? memberOf(ref, fields.secret, place, checks)
        : checkedReference(fields.secret, place, checks);
    if (own !== undefined) injections.push({ kind: fields.kind, fields, ref: own });
  }
  const issued = buildIssued(issuing, checks);
  const isClear = reportConflicts([...placed, ...issuing], checks);
  if (!isClear || injections.length < placed.length || issued === "refused") return undefined;
  const placeholders = placed.flatMap(({ fields, path: at }) =>
    fields.kind === "placeholder" ? [{ text: fields.placeholder ?? "", path: at }] : [],
  );
  return { injections, placeholders, issued };
};

const isIssuedPlaced = (placed: PlacedAs<InjectionFields | IssuedFields>): placed is PlacedIssued =>
  placed.fields.kind === "vault-placeholder";

const isNamedPlaced = (placed: PlacedAs<InjectionFields | IssuedFields>): placed is Placed => !isIssuedPlaced(placed);

/** Undefined: there is none. */
const buildIssued = (
  [first, second]: readonly PlacedIssued[],
  { references, report }: InjectionChecks,
): IssuedConfig | "refused" | undefined => {
  if (first === undefined) return undefined;
  if (second !== undefined) {
    const hint = "One of them with all places in its 'in' does the same.";
    report({ path: second.path, message: "is the second of this kind on the route", hint });
    return "refused";
  }
  const { fields, path } = first;
  const source = fields.source ?? references.declared.find((name) => references.kindOf(name) === "sidekey");
  if (source !== undefined && references.kindOf(source) === "sidekey") return { fields, source };
  report({
    path: fields.source === undefined ? path : [...path, "source"],
    message: fields.source === undefined ? "needs a source of kind sidekey" : "is no declared source of kind sidekey",
    hint: "Only the vault that issued a placeholder knows what it stands for.",
  });
  return "refused";
};

const withPlaceholders = (placed: readonly Placed[], defaultOf: (n: number) => string): readonly Placed[] => {
  let n = 0;
  return placed.map(({ fields, path }) => {
    if (fields.kind !== "placeholder") return { fields, path };
    const text = fields.placeholder ?? defaultOf(n);
    n += 1;
    return { fields: { ...fields, placeholder: text }, path };
  });
};

const placeInjections = (
  route: KeyPath,
  inject: RouteFields["inject"],
): readonly PlacedAs<InjectionFields | IssuedFields>[] => {
  const path: KeyPath = [...route, "inject"];
  if (Array.isArray(inject)) return inject.map((fields, index) => ({ fields, path: [...path, index] }));
  return [{ fields: inject ?? injectionSchema.parse({ kind: "bearer" }), path }];
};

/** `#api_key`: a member of the route's secret. */
const isMember = (secret: string): boolean => secret.startsWith("#");

const usesRoutes = ({ secret }: InjectionFields): boolean => secret === undefined || isMember(secret);

/** The route's secret, or that member of it. Undefined where it has none, or a problem was reported. */
const memberOf = (
  ref: SecretRef | undefined,
  member: string | undefined,
  path: KeyPath,
  checks: InjectionChecks,
): SecretRef | undefined => {
  if (ref === undefined || member === undefined) return ref;
  const [head = "", version] = ref.text.split("@");
  const text = `${head}${ref.field.length === 0 ? "#" : "."}${member.slice(1)}`;
  return checkedReference(version === undefined ? text : `${text}@${version}`, path, checks);
};

const reportMissing = (placed: readonly Placed[], route: KeyPath, checks: InjectionChecks): void => {
  const bare = placed.filter(({ fields }) => usesRoutes(fields));
  const hint = "For example secret: production/openai/api-key";
  // Of the route's own key everybody thinks first.
  if (bare.length === placed.length) checks.report({ path: route, message: "has no 'secret'", hint });
  else
    for (const { path } of bare) checks.report({ path, message: "has no 'secret', and neither has its route", hint });
};

const checkedReference = (text: string, path: KeyPath, checks: InjectionChecks): SecretRef | undefined => {
  const ref = parseReference(text, checks.references);
  if (!isReferenceProblem(ref)) return ref;
  checks.report({ path, message: ref.problem, ...(ref.hint !== undefined && { hint: ref.hint }) });
  return undefined;
};

/**
 * Said at both: either of the two may be the one too many. Two placeholders may share a place, such as both parts of Basic.
 * False: there are some.
 */
const reportConflicts = (
  placed: readonly PlacedAs<InjectionFields | IssuedFields>[],
  checks: InjectionChecks,
): boolean => {
  const claims = placed.flatMap(({ fields, path }) => {
    const injector = createInjector(fields);
    return injector.places.map((place) => ({ place, path, swaps: isSwap(injector) || isIssued(injector) }));
  });
  let isClear = true;
  for (const [index, one] of claims.entries()) {
    for (const other of claims.slice(index + 1)) {
      if (one.path === other.path || (one.swaps && other.swaps) || !isSamePlace(one.place, other.place)) continue;
      // A prefix and a swap in the path behind it do not meet.
      if (one.place.in === "path" && one.swaps !== other.swaps) continue;
      isClear = false;
      reportConflict(one.path, one.place, other.path, checks);
      reportConflict(other.path, other.place, one.path, checks);
    }
  }
  return isClear;
};

const reportConflict = (path: KeyPath, place: Place, other: KeyPath, checks: InjectionChecks): void =>
  checks.report({
    path,
    message: `writes to ${placeText(place)}, and so does inject[${String(other.at(-1))}]`,
    hint: "One place holds one credential: change or remove one of the two.",
  });
