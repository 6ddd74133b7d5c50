import { describe, expect, it } from "vitest";
import { AgentVault, VaultClientError } from "../../../../src/client/index.ts";
import { parseVaultAddress } from "../../../../src/client/transport/address.ts";

const failure = (text: string): VaultClientError => {
  try {
    parseVaultAddress(text);
  } catch (error) {
    if (error instanceof VaultClientError) return error;
    throw error;
  }
  return expect.fail(`${text} was taken`);
};

describe("the address of a vault", () => {
  it.each([
    ["https://vault.internal:7200", "https://vault.internal:7200", "vault.internal", 7200],
    ["https://Vault.Internal/", "https://vault.internal", "vault.internal", 443],
    ["HTTPS://10.1.2.3:443", "https://10.1.2.3", "10.1.2.3", 443],
    ["https://[2001:DB8::1]:7200", "https://[2001:db8::1]:7200", "2001:db8::1", 7200],
    ["http://127.0.0.1:7200", "http://127.0.0.1:7200", "127.0.0.1", 7200],
    ["http://127.9.9.9", "http://127.9.9.9", "127.9.9.9", 80],
    ["http://[::1]:7200/", "http://[::1]:7200", "::1", 7200],
    ["http://localhost:7200", "http://localhost:7200", "localhost", 7200],
  ])("%s is %s", (text, origin, host, port) => {
    expect(parseVaultAddress(text)).toMatchObject({ origin, host, port, secure: origin.startsWith("https") });
  });

  it.each([
    "",
    "vault.internal:7200",
    "ftp://vault.internal",
    "https://",
    "https://vault.internal/v1",
    "https://vault.internal?x=1",
    "https://vault.internal#x",
    "https://vault.internal:0",
    "https://vault.internal:99999",
    "https://user:hunter2@vault.internal",
    "https://hunter2@vault.internal",
    "https://vault internal",
    "https://127.1",
    "https://0x7f000001",
    "https:/vault.internal",
    " https://vault.internal",
    "https://vault.internal\n",
  ])("%j is none, and is not told on", (text) => {
    const error = failure(text);
    expect(error.code).toBe("CLIENT_BAD_ADDRESS");
    expect(`${error.message}${error.hint}`).not.toContain("hunter2");
  });

  it.each([
    "http://vault.internal:7200",
    "http://10.0.0.1",
    "http://[fd00::1]",
    "http://128.0.0.1",
    "http://localhost.evil.test",
  ])("%s is refused: what crosses a network is never in the clear", (text) => {
    const error = failure(text);
    expect(error.code).toBe("CLIENT_BAD_ADDRESS");
    expect(error.detail).toContain("in the clear");
    expect(() => new AgentVault({ address: text, operatorKey: "k" })).toThrow(VaultClientError);
  });
});
