/**
 * The secrets of one request, in the order in which its route names them. The same object for as long as they stay the
 * same, so that what is made for them (patterns to scrub, a line of the audit) is made once.
 */
import type { SecretMaterial, SecretRef } from "./source.ts";

/** Which secrets went out, as the audit has it. */
export interface SecretNames {
  /** Canonical references, with commas between them. */
  readonly secret: string;
  /** Their versions in the same order, `-` for one that has none; undefined: none has. */
  readonly version: string | undefined;
  /** Whose they are, where the vault says so; undefined: the sidecar's agent's. */
  readonly agent: string | undefined;
}

export interface SecretBundle extends SecretNames {
  /** One for each of the route's secrets. */
  readonly materials: readonly SecretMaterial[];
}

export interface SecretBundles {
  /** For a route of one secret. */
  one(material: SecretMaterial): SecretBundle;
  all(materials: readonly SecretMaterial[]): SecretBundle;
}

export const createBundles = (refs: readonly SecretRef[]): SecretBundles => {
  /** By the first of its materials, and gone with it. */
  const known = new WeakMap<SecretMaterial, SecretBundle>();

  const make = (materials: readonly SecretMaterial[]): SecretBundle => {
    const bundle = { materials, ...secretNames(refs, materials) };
    const [first] = materials;
    if (first !== undefined) known.set(first, bundle);
    return bundle;
  };

  return {
    one: (material) => known.get(material) ?? make([material]),
    all(materials) {
      const [first] = materials;
      const bundle = first === undefined ? undefined : known.get(first);
      return bundle?.materials.every((one, i) => one === materials[i]) === true ? bundle : make(materials);
    },
  };
};

/** Those of a bundle with these numbers; undefined for none. */
export const namesOf = (
  bundle: SecretBundle,
  refs: readonly SecretRef[],
  used: ReadonlySet<number>,
): SecretNames | undefined => {
  if (used.size === refs.length) return bundle;
  if (used.size === 0) return undefined;
  const isUsed = (_: unknown, i: number): boolean => used.has(i);
  return secretNames(refs.filter(isUsed), bundle.materials.filter(isUsed));
};

/** `materials[i]` is of `refs[i]`. */
const secretNames = (refs: readonly SecretRef[], materials: readonly SecretMaterial[]): SecretNames => {
  const versions = materials.map(({ version }) => version);
  return {
    secret: refs.map((ref, i) => nameOf(ref, materials[i])).join(","),
    agent: materials.find(({ issued }) => issued !== undefined)?.issued?.agent,
    version: versions.every((one) => one === undefined) ? undefined : versions.map((one) => one ?? "-").join(","),
  };
};

/** Of what a placeholder stands for, where it is one. */
const nameOf = ({ source, text }: SecretRef, material: SecretMaterial | undefined): string =>
  material?.issued === undefined ? text : `${source}:${material.issued.path}`;
