/** The state directory: who owns what in it, with which modes, and whether there is room. Reads only. */
import { existsSync, lstatSync, readdirSync, type Stats, statfsSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import type { SidecarConfig } from "../../sidecar/app/config/config.ts";
import { exposures } from "../../sidecar/app/config/file-check.ts";
import { type Finding, finding } from "./finding.ts";

const OTHERS = 0o077;
const WRITABLE_BY_OTHERS = 0o022;
/** For agents to read (interface.md section 4). */
const PUBLIC: ReadonlySet<string> = new Set(["ca.pem", "ca-bundle.pem", "ca-old.pem"]);
/** Below this the audit could stop everything soon. `bytes` */
const LITTLE_SPACE = 100 * 1024 * 1024;
/** Files of one directory that are looked at: nobody's state has more, and an answer is wanted. */
const MAX_FILES = 2_000;

export const checkState = (config: SidecarConfig): readonly Finding[] => {
  const { state } = config;
  const foreign = exposures(config).map(({ path, reason, remedy }) =>
    finding("fail", "ownership", `${path} ${reason}`, remedy),
  );
  if (!existsSync(state)) {
    return [finding("info", "state directory", `${state}: none yet, made on first use`), ...foreign, ...space(state)];
  }
  const found = statSync(state);
  if (!found.isDirectory()) {
    return [
      finding("fail", "state directory", `${state} is not a directory`, "Choose another with 'state:'."),
      ...foreign,
    ];
  }
  const own = judgeDirectory(state, found);
  // What is another's is closed to us as well.
  if (own.some(({ what }) => what === "owner")) return [...own, ...foreign, ...space(state)];
  const inside = [...walk(state, state)].flatMap(({ path, stats }) => judge(path, stats, state));
  const wrong = [...own, ...inside];
  return [
    ...(wrong.length === 0 ? [finding("ok", "state directory", `${state}: owner and modes are right`)] : wrong),
    ...(existsSync(join(state, ".gitignore"))
      ? []
      : [finding("warn", "state directory", "git could see it", `printf '*\\n' > ${join(state, ".gitignore")}`)]),
    ...foreign,
    ...space(state),
  ];
};

interface Entry {
  readonly path: string;
  readonly stats: Stats;
}

function* walk(directory: string, root: string, count = { left: MAX_FILES }): Generator<Entry> {
  for (const name of readdirSync(directory)) {
    if (count.left-- <= 0) return;
    const path = join(directory, name);
    const stats = lstatSync(path, { throwIfNoEntry: false });
    // A sidecar that runs makes and removes files here.
    if (stats === undefined) continue;
    yield { path, stats };
    if (stats.isDirectory()) yield* walk(path, root, count);
  }
}

const judgeDirectory = (path: string, stats: Stats): readonly Finding[] => [
  ...foreignOwner(path, stats),
  ...((stats.mode & OTHERS) === 0
    ? []
    : [finding("fail", "mode", `${path} is open to other users (mode ${modeOf(stats)})`, `chmod 700 ${path}`)]),
];

const judge = (path: string, stats: Stats, state: string): readonly Finding[] => {
  const owner = foreignOwner(path, stats);
  // What a link leads to is judged by what reads it.
  if (stats.isSymbolicLink()) return owner;
  const isPublic = PUBLIC.has(relative(state, path)) || /^run\/[^/]+\/ca(?:-bundle)?\.pem$/.test(relative(state, path));
  const forbidden = isPublic ? WRITABLE_BY_OTHERS : OTHERS;
  if ((stats.mode & forbidden) === 0) return owner;
  const remedy = isPublic ? `chmod go-w ${path}` : `chmod ${stats.isDirectory() ? "700" : "600"} ${path}`;
  const what = isPublic ? "can be written by others" : "is open to other users";
  return [
    ...owner,
    finding("fail", "mode", `${path} ${what} (mode ${modeOf(stats)})`, `See who had access to it, then: ${remedy}`),
  ];
};

const foreignOwner = (path: string, { uid }: Stats): readonly Finding[] => {
  const own = process.getuid?.();
  if (own === undefined || uid === own) return [];
  return [
    finding(
      "fail",
      "owner",
      `${path} belongs to uid ${uid}, and this is uid ${own}`,
      "Run sidekey, and this, as the user who owns the state directory.",
    ),
  ];
};

const modeOf = ({ mode }: Stats): string => (mode & 0o7777).toString(8).padStart(4, "0");

/** Of the disk that it lies on, or will lie on. */
const space = (state: string): readonly Finding[] => {
  let place = state;
  while (!existsSync(place) && dirname(place) !== place) place = dirname(place);
  const { bavail, bsize, files, ffree } = statfsSync(place);
  const free = bavail * bsize;
  const text = `${formatBytes(free)} free for ${state}`;
  // Some file systems count no inodes.
  if (files > 0 && ffree === 0) return [finding("fail", "disk", "no inode is free", "Remove files on that disk.")];
  if (free >= LITTLE_SPACE) return [finding("ok", "disk", text)];
  const hint = "Without room for its audit the sidecar refuses every call (AUDIT_UNAVAILABLE).";
  return [finding(free === 0 ? "fail" : "warn", "disk", text, hint)];
};

const formatBytes = (bytes: number): string => {
  const gib = bytes / 1024 ** 3;
  return gib >= 1 ? `${gib.toFixed(1)} GiB` : `${Math.floor(bytes / 1024 ** 2)} MiB`;
};
