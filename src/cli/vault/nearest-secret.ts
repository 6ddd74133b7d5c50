/** "Did you mean" for secrets: a path that is not there is mostly one that was mistyped. */
import { nearest } from "../../config/suggest.ts";
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";
import type { AnyVault } from "../../vault/index.ts";

/** What `work` gives; when it finds no secret at `path`, the error names the nearest one that there is. */
export const suggestingPath = async <T>(vault: AnyVault, path: string, work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    if (!isSidekeyError(error) || error.code !== "VAULT_SECRET_MISSING") throw error;
    const paths = (await vault.secrets.list()).map((one) => one.path);
    // There, but not in the version that was asked for.
    if (paths.includes(path)) throw error;
    const meant = nearest(path, paths);
    if (meant === undefined) throw error;
    throw new SidekeyError(error.code, { detail: path, hint: `Did you mean '${meant}'?`, cause: error });
  }
};
