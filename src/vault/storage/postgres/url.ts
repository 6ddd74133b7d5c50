/**
 * The address of a PostgreSQL database, from one URL. Decides about TLS: beyond this machine it is used, and the server's
 * certificate checked, unless the URL says `sslmode=disable`. Reads nothing from the environment. Must never put any part
 * of the URL into an error: there may be a password in it.
 */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import type { ConnectionOptions } from "node:tls";
import { SidekeyError } from "../../../core/errors.ts";
import { isLoopback, parseIp } from "../../../core/ip.ts";
import { systemCode } from "../../../core/whole-file.ts";

export interface PostgresAddress {
  /** A name, an address, or the directory of a Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** Empty when there is none. */
  readonly password: string;
  readonly database: string;
  /** False: cleartext, on this machine or because the URL says so. */
  readonly ssl: false | ConnectionOptions;
  /** `-c name=value`, for a search_path. */
  readonly options: string | undefined;
}

const DEFAULT_PORT = 5432;
const PARAMETERS = ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "options"];
/** All that check the certificate and its name; libpq's `require` and `verify-ca` check less, and mean this here. */
const CHECKED_MODES = ["require", "verify-ca", "verify-full"];

/** Errors: CONFIG_INVALID; the files it names are read: CONFIG_UNREADABLE. */
export const parsePostgresUrl = (text: string): PostgresAddress => {
  const url = URL.canParse(text.trim()) ? new URL(text.trim()) : undefined;
  if (url === undefined || !["postgres:", "postgresql:"].includes(url.protocol)) {
    throw invalid("It is no postgres:// URL.");
  }
  const parameters = new Map(url.searchParams);
  for (const name of parameters.keys()) {
    if (!PARAMETERS.includes(name)) throw invalid(`One of its parameters is none of ${PARAMETERS.join(", ")}.`);
  }
  const socket = parameters.get("host");
  if (socket !== undefined && !socket.startsWith("/")) {
    throw invalid("Its parameter 'host' is not the absolute directory of a Unix socket.");
  }
  const host = socket ?? decoded(url.hostname).replace(/^\[(.*)\]$/, "$1");
  const user = decoded(url.username);
  const database = decoded(url.pathname.slice(1));
  if (host === "" || user === "" || database === "" || database.includes("/")) {
    throw invalid("It does not name a host, a user and a database.");
  }
  return {
    host,
    port: url.port === "" ? DEFAULT_PORT : Number(url.port),
    user,
    password: decoded(url.password),
    database,
    ssl: tlsOf(host, parameters),
    options: parameters.get("options"),
  };
};

const tlsOf = (host: string, parameters: ReadonlyMap<string, string>): false | ConnectionOptions => {
  const mode = parameters.get("sslmode");
  const files = ["sslrootcert", "sslcert", "sslkey"].filter((name) => parameters.has(name));
  if (mode === "disable") {
    if (files.length > 0) throw invalid("It has sslmode=disable and a certificate.");
    return false;
  }
  if (mode !== undefined && !CHECKED_MODES.includes(mode)) {
    throw invalid("Its sslmode is none of disable, require, verify-ca, verify-full.");
  }
  if (host.startsWith("/")) {
    if (mode !== undefined || files.length > 0) throw invalid("A Unix socket has no TLS.");
    return false;
  }
  if (mode === undefined && files.length === 0 && isThisMachine(host)) return false;
  const read = (name: string): string | undefined => {
    const path = parameters.get(name);
    return path === undefined ? undefined : readPem(name, path);
  };
  const [ca, cert, key] = [read("sslrootcert"), read("sslcert"), read("sslkey")];
  if ((cert === undefined) !== (key === undefined))
    throw invalid("It has one of sslcert and sslkey without the other.");
  return {
    rejectUnauthorized: true,
    minVersion: "TLSv1.2",
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert, key }),
  };
};

const isThisMachine = (host: string): boolean => {
  if (host === "localhost") return true;
  const address = isIP(host) === 0 ? undefined : parseIp(host);
  return address !== undefined && isLoopback(address);
};

const readPem = (name: string, path: string): string => {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new SidekeyError("CONFIG_UNREADABLE", {
      detail: `The file of '${name}' in the database's URL (${systemCode(error)}).`,
    });
  }
};

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid("It holds a '%' that begins no escape; write %25 for the sign itself.");
  }
};

const invalid = (detail: string): SidekeyError =>
  new SidekeyError("CONFIG_INVALID", {
    detail: `The database's URL: ${detail}`,
    hint: "Write postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full, signs like @ / ? # % in it as %40 %2F %3F %23 %25.",
  });
