/** The interception CA of a sidecar, opened only when the first tunnel needs it, and the files that clients trust. */
import { chmod, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { createBundle } from "../tls/bundle.ts";
import { type ContextCache, createContextCache } from "../tls/context-cache.ts";
import type { RouteConfig } from "./config.ts";

export interface OpenedCa {
  readonly certificatePem: string;
  readonly contexts: ContextCache;
}

export const openCa = async (options: { mode: "start" | "run"; state: string; clock: Clock }): Promise<OpenedCa> => {
  const { mode, state, clock } = options;
  const authority =
    mode === "run"
      ? await (await import("../tls/certificate-authority.ts")).createCertificateAuthority({ clock })
      : await (await import("../tls/certificate-files.ts")).openCertificateAuthority({ directory: state, clock });
  return { certificatePem: authority.certificatePem, contexts: createContextCache({ authority, clock }) };
};

/**
 * Makes one certificate before a port opens: the first one loads the X.509 library, which holds the loop for a third of
 * a second, and no request should meet that.
 */
export const mintFirst = async (contexts: ContextCache, routes: readonly RouteConfig[]): Promise<void> => {
  for (const { patterns } of routes) {
    for (const { scheme, host } of patterns) {
      if (scheme !== "https" || host.kind !== "exact") continue;
      await contexts.get(host.authority.host);
      return;
    }
  }
};

/** Writes `ca-bundle.pem`, and `ca.pem` where it is not there already. Both are public: mode 0644. */
export const writeCaFiles = async (
  directory: string,
  certificatePem: string,
  extra: readonly string[],
): Promise<{ ca: string; bundle: string }> => {
  const ca = join(directory, "ca.pem");
  const bundle = join(directory, "ca-bundle.pem");
  await replaceFile(ca, certificatePem);
  await replaceFile(bundle, await createBundle({ certificatePem, extra }));
  return { ca, bundle };
};

/** Whole or not at all: a client may be reading it. */
const replaceFile = async (path: string, text: string): Promise<void> => {
  const temporary = `${path}.${process.pid}`;
  await writeFile(temporary, text);
  // Whatever the umask: it is public, and with `run --user` somebody else reads it.
  await chmod(temporary, 0o644);
  await rename(temporary, path);
};
