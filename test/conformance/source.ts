/**
 * What every secret source must do, whatever it reads from. A kind's test gives a way to fill the source; the suite asks
 * for the values and searches everything that comes out for them.
 */
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { isSidekeyError, type SidekeyError } from "../../src/core/errors.ts";
import { createSecretResolver } from "../../src/sidecar/secrets/resolver.ts";
import { isScoped, isVersioned, type SecretRef, type SecretSource } from "../../src/sidecar/secrets/source.ts";

export interface SourceSubject {
  /** Its declared name must be `subject`. */
  readonly source: SecretSource;
  /** A path that may be filled; another for each `n`. */
  path(n: number): string;
  /**
   * Puts bytes where the source will find them under `path`. False when this kind of store can't hold such bytes at all
   * (a variable has no NUL), or refuses to.
   */
  store(path: string, bytes: Buffer): Promise<boolean>;
  remove(path: string): Promise<void>;
  /** Where it can be done: from here on the store cannot be reached. What it returns undoes that, as for the others. */
  breakDown?(): Promise<() => Promise<void>>;
  /** Where it can be done: it is reached and never answers. */
  silence?(): Promise<() => Promise<void>>;
  /** Where it can be done: it refuses this sidecar. */
  forbid?(): Promise<() => Promise<void>>;
}

interface ValueCase {
  readonly name: string;
  readonly bytes: Buffer;
}

const valueCase = (name: string, value: string | Buffer): ValueCase => ({ name, bytes: Buffer.from(value) });

const MARK = "c4n4ry";

/** Odd to a shell, a template, a regular expression or a parser, but right for a header. */
const ODD_VALUES: readonly ValueCase[] = [
  valueCase("one byte", "x"),
  valueCase("replacement patterns", `${MARK}$&$1$$$\`$'`),
  valueCase("quotes", `${MARK}"'\`\\"`),
  valueCase("a template", `${MARK}\${env.X}{{secret}}{secret}%s`),
  valueCase("JSON", `{"${MARK}":"__proto__"}`),
  valueCase("percent escapes", `${MARK}%0d%0aX-Evil:%201`),
  valueCase("escapes that are only text", `${MARK}\\r\\n\\0\\u000a`),
  valueCase("base64 with padding", `${MARK}+/==`),
  valueCase("only spaces around it", ` ${MARK} `),
  valueCase("markup", `<${MARK} onload='x'>&amp;`),
  valueCase("text beyond ASCII", `${MARK}-żółć-🔑`),
  valueCase("the largest size", Buffer.alloc(64 * 1024, MARK)),
];

/** Never a credential: each must be refused, with a code and without being shown. */
const BAD_VALUES: readonly ValueCase[] = [
  valueCase("CRLF and a header", `${MARK}\r\nX-Evil: 1`),
  valueCase("LF inside", `${MARK}\n${MARK}`),
  valueCase("CR inside", `${MARK}\r${MARK}`),
  valueCase("CR at the end", `${MARK}\r`),
  valueCase("LF at the start", `\n${MARK}`),
  valueCase("two LF at the end", `${MARK}\n\n`),
  valueCase("NUL", `${MARK}\0${MARK}`),
  valueCase("tab", `${MARK}\t${MARK}`),
  valueCase("escape", `${MARK}\u001b[31m`),
  valueCase("backspace", `${MARK}\b`),
  valueCase("vertical tab", `${MARK}\v`),
  valueCase("DEL", `${MARK}\u007f`),
  valueCase("one byte more than the largest size", Buffer.alloc(64 * 1024 + 1, MARK)),
];

/** Bytes that are no UTF-8, for what keeps bytes. */
const RAW_VALUES: readonly ValueCase[] = [
  valueCase("bytes above 0x7f", Buffer.from([0x63, 0x34, 0x80, 0xff, 0xfe, 0xc0, 0xa0])),
  valueCase("Latin-1 text", Buffer.from(`${MARK}é`, "latin1")),
];

export const refTo = (path: string, more: Partial<SecretRef> = {}): SecretRef => ({
  source: "subject",
  path,
  field: [],
  version: undefined,
  text: `subject:${path}`,
  ...more,
});

const CONTEXT = { agent: "research" };

const failureOf = async (source: SecretSource, ref: SecretRef): Promise<SidekeyError> => {
  try {
    await source.fetch(ref, CONTEXT);
  } catch (error) {
    if (isSidekeyError(error)) return error;
    throw error;
  }
  throw new Error(`${ref.text} was found`);
};

/** Everything that printing, logging or serialising an error could show, its causes too. */
const everythingOf = (error: SidekeyError): string => {
  const parts = [inspect(error, { depth: 20, showHidden: true, maxStringLength: null })];
  for (let next: unknown = error; next instanceof Error; next = next.cause) parts.push(next.message, next.stack ?? "");
  parts.push(JSON.stringify(error), error.hint, error.publicMessage);
  return parts.join("\n");
};

export interface SourceTraits {
  /** Whether values are bytes; else text in UTF-8. */
  readonly bytes: boolean;
  /** A word that is a version here, when there are versions. */
  readonly version?: string;
}

const POLICY = { maxAgeMs: 60_000, staleWhileErrorMs: 0 };

/** The cache over a source, on a clock that moves when told. */
const resolverOver = (source: SecretSource) => {
  let now = 0;
  let fetches = 0;
  const counted: SecretSource = {
    ...source,
    fetch(ref, ctx) {
      fetches += 1;
      return source.fetch(ref, ctx);
    },
  };
  const clock = { now: () => Date.now(), monotonic: () => now };
  return {
    resolver: createSecretResolver(new Map([["subject", counted]]), clock),
    fetches: () => fetches,
    advance: (ms: number) => {
      now += ms;
    },
  };
};

/** `create` is called once for each test. */
export const describeSource = (kind: string, traits: SourceTraits, create: () => Promise<SourceSubject>): void => {
  describe(`secret source ${kind}`, () => {
    const exact = traits.bytes ? [...ODD_VALUES, ...RAW_VALUES] : ODD_VALUES;

    it.each(exact)("gives back $name byte for byte", async ({ bytes }) => {
      const { source, path, store } = await create();
      expect(await store(path(0), bytes)).toBe(true);
      const { value } = await source.fetch(refTo(path(0)), CONTEXT);
      expect(value.lend((found) => found.equals(bytes))).toBe(true);
      expect(`${value} ${JSON.stringify(value)} ${inspect(value)}`).not.toContain(MARK);
    });

    it.each(BAD_VALUES)("refuses $name and does not show it", async ({ bytes }) => {
      const { source, path, store } = await create();
      const stored = await store(path(0), bytes);
      const error = await failureOf(source, refTo(path(0)));
      expect(error.code).toBe(stored ? "SOURCE_BAD_VALUE" : "SOURCE_SECRET_MISSING");
      expect(everythingOf(error)).not.toContain(MARK);
    });

    it("takes an empty value as missing", async () => {
      const { source, path, store } = await create();
      await store(path(0), Buffer.alloc(0));
      expect((await failureOf(source, refTo(path(0)))).code).toBe("SOURCE_SECRET_MISSING");
    });

    it("says which secret is missing, before it is stored and after it was removed", async () => {
      const { source, path, store, remove } = await create();
      const before = await failureOf(source, refTo(path(0)));
      expect(before.code).toBe("SOURCE_SECRET_MISSING");
      expect(before.message).toContain(path(0));
      await store(path(0), Buffer.from(MARK));
      await source.fetch(refTo(path(0)), CONTEXT);
      await remove(path(0));
      const after = await failureOf(source, refTo(path(0)));
      expect(after.code).toBe("SOURCE_SECRET_MISSING");
      expect(everythingOf(after)).not.toContain(MARK);
    });

    it("keeps secrets apart", async () => {
      const { source, path, store } = await create();
      for (const n of [0, 1, 2]) await store(path(n), Buffer.from(`${MARK}-${n}`));
      const found = await Promise.all([2, 0, 1, 0].map((n) => source.fetch(refTo(path(n)), CONTEXT)));
      expect(found.map(({ value }) => value.lend(String))).toEqual([2, 0, 1, 0].map((n) => `${MARK}-${n}`));
    });

    it("gives the new value after a change", async () => {
      const { source, path, store } = await create();
      for (const value of ["old", "new"]) {
        await store(path(0), Buffer.from(value));
        expect((await source.fetch(refTo(path(0)), CONTEXT)).value.lend(String)).toBe(value);
      }
    });

    it("gives the same to all who ask at once", async () => {
      const { source, path, store } = await create();
      await store(path(0), Buffer.from(MARK));
      const found = await Promise.all(Array.from({ length: 20 }, () => source.fetch(refTo(path(0)), CONTEXT)));
      expect(new Set(found.map(({ value }) => value.lend(String)))).toEqual(new Set([MARK]));
    });

    it("is asked once by a thousand requests that come at once, and again after a change", async () => {
      const { source, path, store } = await create();
      await store(path(0), Buffer.from("old"));
      const t = resolverOver(source);
      const ask = async () => (await t.resolver.resolve(refTo(path(0)), "research", POLICY)).value.lend(String);
      expect(new Set(await Promise.all(Array.from({ length: 1000 }, ask)))).toEqual(new Set(["old"]));
      expect(t.fetches()).toBe(1);
      await store(path(0), Buffer.from("new"));
      if (!isVersioned(source)) t.advance(POLICY.maxAgeMs);
      expect(new Set(await Promise.all(Array.from({ length: 1000 }, ask)))).toEqual(new Set(["new"]));
      expect(t.fetches()).toBe(2);
      const { replaced = [] } = await t.resolver.resolve(refTo(path(0)), "research", POLICY);
      expect(replaced.map(({ value }) => value.lend(String))).toEqual(["old"]);
    });

    it("fails with a code when it is down, forbids or is silent, and says nothing of the value", async () => {
      const { source, path, store, ...faults } = await create();
      await store(path(0), Buffer.from(MARK));
      for (const [fault, code] of [
        [faults.breakDown, "SOURCE_UNAVAILABLE"],
        [faults.silence, "SOURCE_UNAVAILABLE"],
        [faults.forbid, "SOURCE_FORBIDDEN"],
      ] as const) {
        const undo = await fault?.();
        if (undo === undefined) continue;
        const error = await failureOf(source, refTo(path(0)));
        expect(error.code).toBe(code);
        expect(everythingOf(error)).not.toContain(MARK);
        await undo();
      }
      expect((await source.fetch(refTo(path(0)), CONTEXT)).value.lend(String)).toBe(MARK);
    });

    it("hands on a document whole, line breaks and all, when a field of it is asked for", async () => {
      const { source, path, store } = await create();
      const document = traits.version === undefined ? `{\n\t"key": "${MARK}"\n}` : `{ "key": "${MARK}" }`;
      await store(path(0), Buffer.from(document));
      const { value } = await source.fetch(refTo(path(0), { field: ["key"] }), CONTEXT);
      expect(value.lend(String)).toBe(document);
    });

    it.each(["0", "999", "-1", "1.0", "01", "latest", "__proto__", "9".repeat(30)])(
      "takes version %j as missing",
      async (version) => {
        const { source, path, store } = await create();
        await store(path(0), Buffer.from(MARK));
        const error = await failureOf(source, refTo(path(0), { version }));
        expect(error.code).toBe("SOURCE_SECRET_MISSING");
        expect(everythingOf(error)).not.toContain(MARK);
      },
    );

    it.each([
      "",
      ".",
      "..",
      "/",
      "a/../b",
      "../../etc/passwd",
      "__proto__",
      "constructor",
      "a\0b",
      "\n",
      "x".repeat(5000),
    ])("does not find anything at %j", async (path) => {
      const { source } = await create();
      const { code } = await failureOf(source, refTo(path));
      expect(["SOURCE_SECRET_MISSING", "SOURCE_FORBIDDEN", "SOURCE_UNAVAILABLE"]).toContain(code);
    });

    it("has its declared name, and keeps to the optional powers it claims", async () => {
      const { source, path, store } = await create();
      expect(source.name).toBe("subject");
      await store(path(0), Buffer.from(MARK));
      if (isScoped(source)) expect(source.authorize(refTo(path(0)))).toBeUndefined();
      if (isVersioned(source)) {
        const before = source.generation();
        expect(source.generation()).toBe(before);
        await store(path(0), Buffer.from(`${MARK}-2`));
        expect(source.generation()).not.toBe(before);
      }
    });
  });
};
