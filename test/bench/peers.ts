/**
 * Peers that are too large to be dependencies: installed once, by exact version, into node_modules/.cache. What cannot be
 * installed (no network, no Python) is a reason to leave the peer out, never a failure of the bench.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { hasProgram } from "./processes.ts";

const CACHE = fileURLToPath(new URL("../../node_modules/.cache/sidekey-bench", import.meta.url));
const PACKAGES = { "http-proxy": "1.18.1", mockttp: "4.6.5" } as const;
const MITMPROXY = "11.0.2";
const INSTALL_MS = 240_000;

export type PeerPackage = keyof typeof PACKAGES;

const peerDirectory = (name: PeerPackage): string => join(CACHE, `${name}-${PACKAGES[name]}`);
const venv = join(CACHE, `mitmproxy-${MITMPROXY}`);

/** Standard error's end when it fails. */
const install = (file: string, args: readonly string[]): string | undefined => {
  const { status, stderr, error } = spawnSync(file, args, { encoding: "utf8", timeout: INSTALL_MS });
  if (status === 0) return undefined;
  return error?.message ?? stderr.trim().split("\n").at(-1) ?? `${file} failed`;
};

/** Installs it if need be; why not, if it could not. */
export const preparePackage = (name: PeerPackage): string | undefined => {
  const directory = peerDirectory(name);
  if (existsSync(join(directory, "node_modules", name, "package.json"))) return undefined;
  mkdirSync(directory, { recursive: true });
  const flags = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", directory];
  const reason = install("npm", ["install", ...flags, `${name}@${PACKAGES[name]}`]);
  return reason === undefined ? undefined : `npm could not install it: ${reason}`;
};

/** The module, for a program of the bench whose subject prepared it. */
export const requirePeer = (name: PeerPackage): unknown =>
  createRequire(join(peerDirectory(name), "package.json"))(name);

/** `mitmdump` of the system, else of an environment of our own. */
export const mitmdump = (): string => (hasProgram("mitmdump") ? "mitmdump" : join(venv, "bin/mitmdump"));

export const prepareMitmproxy = (): string | undefined => {
  if (hasProgram("mitmdump") || existsSync(mitmdump())) return undefined;
  if (!hasProgram("python3")) return "neither mitmdump nor python3 is installed";
  mkdirSync(CACHE, { recursive: true });
  const reason =
    install("python3", ["-m", "venv", venv]) ??
    install(join(venv, "bin/python"), ["-m", "pip", "install", "-q", `mitmproxy==${MITMPROXY}`]);
  return reason === undefined ? undefined : `pip could not install it: ${reason}`;
};
