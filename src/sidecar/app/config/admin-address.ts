/** Where the sidecar of a file takes orders, also when the file has problems: then above all somebody wants to ask. */
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parseConfigDocument } from "../../../config/document.ts";
import { ADMIN_SOCKET } from "./listeners.ts";
import { salvageFields } from "./salvage.ts";

/** Absolute path of the admin socket. `file`: absolute; need not be there. */
export const adminSocketOf = (file: string): string => {
  const { value, isBroken } = readDocument(file);
  const { state, listen } = salvageFields(isBroken ? {} : value).fields;
  const { admin } = listen;
  const base = dirname(file);
  return admin?.kind === "unix" ? resolve(base, admin.path) : join(resolve(base, state), ADMIN_SOCKET);
};

const readDocument = (file: string): { readonly value: unknown; readonly isBroken: boolean } => {
  try {
    return parseConfigDocument(readFileSync(file, "utf8"));
  } catch {
    return { value: {}, isBroken: true };
  }
};
