/** A session on a token that somebody else issues and puts where the file says. */
import { describe, expect, it } from "vitest";
import { isSidekeyError, SidekeyError } from "../../../../../src/core/errors.ts";
import { readToken } from "../../../../../src/sidecar/secrets/vault-session/grant.ts";
import { createGivenSource } from "../../../../../src/sidecar/secrets/vault-session/source.ts";
import { createSessionStage, fault, refOf, settle, useOf } from "../../../../support/vault/scripted-vault.ts";

const PATH = "production/x/key";
const HOUR = 3_600_000;
const CONTEXT = { agent: "research" };

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
const tokenOf = (claims: Record<string, unknown>): string => `${encode({ alg: "EdDSA" })}.${encode(claims)}.c2ln`;

const failureOf = async (act: () => unknown): Promise<SidekeyError> => {
  try {
    await act();
  } catch (error) {
    if (isSidekeyError(error)) return error;
    throw error;
  }
  throw new Error("it did not fail");
};
const codeOf = async (act: () => unknown): Promise<string> => (await failureOf(act)).code;

const open = async (claims: Record<string, unknown> = {}, uses = [useOf(PATH)]) => {
  const stage = createSessionStage();
  stage.vault.secrets.set(PATH, { value: "one", version: 1 });
  const make = (id: string, more: Record<string, unknown> = {}): string => {
    const exp = (stage.clock.now() + HOUR) / 1000;
    const token = tokenOf({ jti: id, exp, scope: "secrets:use:production/*", ...more });
    stage.vault.tokens.set(token, { scopes: new Set([PATH]) });
    return token;
  };
  let text: string | undefined = make("first", claims);
  let stamp = 0;
  const place = {
    read: () => {
      if (text === undefined) throw new SidekeyError("CONFIG_INVALID", { detail: "it is missing" });
      return text;
    },
    stamp: () => String(stamp),
  };
  const source = await createGivenSource(stage.parts, place, uses);
  await settle();
  const get = async () => (await source.fetch(refOf(PATH), CONTEXT)).value.lend(String);
  const put = (next: string | undefined): void => {
    text = next;
    stamp += 1;
  };
  return { ...stage, source, get, put, make };
};

describe("a token that somebody else issued", () => {
  it("is used as it is, and never given back", async () => {
    const { source, get, vault, advance } = await open();
    expect(await get()).toBe("one");
    expect(vault.streams).toBe(1);
    await advance(HOUR - 1);
    expect(source.authorize(refOf(PATH))).toBeUndefined();
    await source.close();
    expect(vault.calls).not.toContain("revoke");
    expect(vault.calls).not.toContain("enrol");
  });

  it("is over at its end, and the source works again when another one is put in its place", async () => {
    const { source, get, put, make, advance, lines } = await open();
    await advance(HOUR);
    expect(await codeOf(() => source.authorize(refOf(PATH)))).toBe("IDENTITY_TOKEN_EXPIRED");
    expect(lines.filter((line) => line.includes("has expired"))).toHaveLength(1);
    put(make("second"));
    await advance(1_000);
    expect(source.authorize(refOf(PATH))).toBeUndefined();
    expect(await get()).toBe("one");
  });

  it("stays when what is put in its place is none, and that is told once", async () => {
    const { get, put, advance, lines } = await open();
    for (const text of ["canary-1", "canary-2", undefined]) put(text);
    await advance(5_000);
    expect(await get()).toBe("one");
    put("canary-3");
    await advance(5_000);
    expect(lines.filter((line) => line.includes("cannot be taken"))).toHaveLength(2);
    expect(lines.join("\n")).not.toContain("canary");
  });

  it("is read at once when the vault does not take the one before", async () => {
    const { vault, get, put, make } = await open();
    vault.tokens.clear();
    put(make("second"));
    expect(await get()).toBe("one");
  });

  it("that the vault does not take is forbidden, and that it revoked is revoked", async () => {
    const { vault, source, get } = await open();
    vault.tokens.clear();
    expect(await codeOf(get)).toBe("SOURCE_FORBIDDEN");
    expect(source.leases()[0]?.problem?.code).toBe("SOURCE_FORBIDDEN");
    vault.say({ type: "token.revoked", id: "first" });
    await settle();
    expect(await codeOf(() => source.authorize(refOf(PATH)))).toBe("IDENTITY_TOKEN_REVOKED");
    vault.redeemFault = fault("revoked");
    expect(await codeOf(get)).toBe("IDENTITY_TOKEN_REVOKED");
  });

  it("must cover what the routes name", async () => {
    const uses = [useOf(PATH, "api"), useOf("staging/x/key", "billing"), useOf("a-name", "named")];
    const { code, detail } = await failureOf(() => open({}, uses));
    expect(code).toBe("IDENTITY_SCOPE_DENIED");
    expect(detail).toContain("routes.billing needs staging/x/key");
    expect(detail).not.toMatch(/routes\.api|routes\.named/);
    const { source } = await open();
    expect(await codeOf(() => source.repermit([], uses))).toBe("IDENTITY_SCOPE_DENIED");
  });

  it("must be for this sidecar's key when it is for one", async () => {
    expect(await codeOf(() => open({ cnf: { jkt: "another" } }))).toBe("IDENTITY_TOKEN_INVALID");
    const { get } = await open({ cnf: { jkt: "our-thumbprint" } });
    expect(await get()).toBe("one");
  });

  it.each([
    "",
    "a.b",
    "a.b.c",
    tokenOf({}),
    tokenOf({ jti: "a", exp: "tomorrow", scope: "secrets:use:a/b" }),
    tokenOf({ jti: "a", exp: 1, scope: "canary" }),
    `${encode({})}.${Buffer.from("canary").toString("base64url")}.c2ln`,
  ])("is refused where it cannot be one, and not shown (%#)", async (text) => {
    const error = await failureOf(() => readToken(text));
    expect(error.code).toBe("IDENTITY_TOKEN_INVALID");
    expect(`${error.message} ${error.hint} ${String(error.cause)}`).not.toContain("canary");
  });
});
