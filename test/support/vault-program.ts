/** The built program as a vault server, and its API as an operator or an agent calls it. */
import { type BuiltVault, startBuiltVault } from "./built-vault.ts";

export interface VaultProgram extends BuiltVault {
  /** A call as this key or token, default the operator's. */
  call(method: string, path: string, body?: object, key?: string): Promise<Called>;
  /** As `call`, its body; anything but a 2xx is an error. */
  must(method: string, path: string, body?: object, key?: string): Promise<Record<string, unknown>>;
}

export interface Called {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

export const startVaultProgram = async (): Promise<VaultProgram> => {
  const vault = await startBuiltVault();
  const call = async (method: string, path: string, body?: object, key = vault.operatorKey): Promise<Called> => {
    const answer = await fetch(vault.address + path, {
      method,
      headers: { authorization: `Bearer ${key}`, ...(body !== undefined && { "content-type": "application/json" }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, body: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>) };
  };
  return {
    ...vault,
    call,
    async must(...args) {
      const { status, body } = await call(...args);
      if (status < 200 || status > 299) throw new Error(`${args[0]} ${args[1]}: ${status} ${JSON.stringify(body)}`);
      return body;
    },
  };
};
