/** The built program as a vault server: made with `vault init`, started with `vault serve`, stopped as a service manager does. */
import { createInterface } from "node:readline";
import { finished, launch } from "./program.ts";
import { createWorkspace, type Workspace } from "./workspace.ts";

export interface BuiltVault {
  readonly address: string;
  readonly operatorKey: string;
  /** Where its vault.yaml and its state are. */
  readonly work: Workspace;
  /** Rejects when it did not end in order. */
  close(): Promise<void>;
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
  const child = launch(["vault", "serve"], { cwd: work.path });
  const end = finished(child);
  const address = await new Promise<string>((resolve, reject) => {
    if (child.stdout === null) return reject(new Error("no standard output"));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const [, ready] = /^sidekey vault ready (.*)$/.exec(line) ?? [];
      if (ready !== undefined) resolve((JSON.parse(ready) as { address: string }).address);
    });
    end.then(({ code, stderr }) => reject(new Error(`vault serve ended with ${code}: ${stderr}`)), reject);
  });
  return {
    address,
    operatorKey,
    work,
    async close() {
      child.kill("SIGTERM");
      const { code, stderr } = await end;
      work.remove();
      if (code !== 0) throw new Error(`vault serve ended with ${code}: ${stderr}`);
    },
  };
};
