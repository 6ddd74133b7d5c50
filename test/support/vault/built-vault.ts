/**
 * The built program as a vault server: made with `vault init`, started with `vault serve`, called as an operator or an
 * agent calls it, stopped as a service manager does.
 */
import { createWorkspace, type Workspace } from "../workspace.ts";
import { serveVault } from "./vault-process.ts";

export interface BuiltVault {
  readonly address: string;
  readonly operatorKey: string;
  /** Where its vault.yaml and its state are. */
  readonly work: Workspace;
  /** A call as this key or token, default the operator's. */
  call(method: string, path: string, body?: object, key?: string): Promise<Called>;
  /** As `call`, its body; anything but a 2xx is an error. */
  must(method: string, path: string, body?: object, key?: string): Promise<Record<string, unknown>>;
  /** Rejects when it did not end in order. */
  close(): Promise<void>;
}

export interface Called {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

export interface BuiltVaultOptions {
  /** More of its vault.yaml. */
  readonly yaml?: string;
  /** Beside it, by name. */
  readonly files?: Readonly<Record<string, string>>;
}

export const startBuiltVault = async ({ yaml = "", files = {} }: BuiltVaultOptions = {}): Promise<BuiltVault> => {
  const work = createWorkspace();
  for (const [name, text] of Object.entries(files)) work.write(name, text);
  work.write("vault.yaml", `version: 1\nlisten: 127.0.0.1:0\nstate: ./.sidekey\n${yaml}`);
  const made = await work.sidekey(["vault", "init", "--json"]);
  if (made.code !== 0) throw new Error(`vault init ended with ${made.code}: ${made.stderr}`);
  const { operator_key: operatorKey } = JSON.parse(made.stdout) as { operator_key: string };
  const { address, stop } = await serveVault([], { cwd: work.path });
  const call = async (method: string, path: string, body?: object, key = operatorKey): Promise<Called> => {
    const answer = await fetch(address + path, {
      method,
      headers: { authorization: `Bearer ${key}`, ...(body !== undefined && { "content-type": "application/json" }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, body: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>) };
  };
  return {
    address,
    operatorKey,
    work,
    call,
    async must(...args) {
      const { status, body } = await call(...args);
      if (status < 200 || status > 299) throw new Error(`${args[0]} ${args[1]}: ${status} ${JSON.stringify(body)}`);
      return body;
    },
    async close() {
      const { code, stderr } = await stop();
      work.remove();
      if (code !== 0) throw new Error(`vault serve ended with ${code}: ${stderr}`);
    },
  };
};
