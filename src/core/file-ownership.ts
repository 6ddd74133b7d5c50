/**
 * Who else could change a file: by its mode and owner, by a link on the way to it, or by putting another file in its
 * place. POSIX only; an ACL that lets others write shows in the mode's group bits.
 */
import { accessSync, constants, lstatSync, readlinkSync, type Stats, statSync } from "node:fs";
import { dirname, isAbsolute, join, resolve, sep } from "node:path";

export interface Exposure {
  /** The file, a link on the way, or a directory that one of them lies in. */
  readonly path: string;
  /** After the path: `can be written by others (mode 0666)`. */
  readonly reason: string;
  readonly remedy: string;
}

const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;
/** As many as Linux follows (path_resolution(7)). */
const MAX_LINKS = 40;

/**
 * The first thing through which somebody other than `uid` and root could change what `path` names; undefined when there
 * is none, when the file is not there, and where users have no numbers.
 */
export const findExposure = (path: string, uid = process.getuid?.()): Exposure | undefined => {
  if (uid === undefined) return undefined;
  const found = ifThere(() => statSync(path));
  if (found === undefined) return undefined;
  for (const place of walk(path)) {
    const exposure = foreignOwner(place.path, place.stats, uid) ?? writableDirectory(place.path, place.stats);
    if (exposure !== undefined) return exposure;
  }
  return foreignOwner(path, found, uid) ?? writableFile(path, found);
};

interface Place {
  readonly path: string;
  readonly stats: Stats;
}

/** Every link on the way, and the directories of the links and of the file. */
function* walk(path: string): Generator<Place> {
  const pending = resolve(path).split(sep);
  let at: string = sep;
  let links = 0;
  while (pending.length > 0) {
    const name = pending.shift() ?? "";
    const next = join(at, name);
    const stats = ifThere(() => lstatSync(next));
    // A pipe of this process (`-c <(...)`) has a name in /proc that leads nowhere.
    if (stats === undefined || links > MAX_LINKS) return;
    if (stats.isSymbolicLink()) {
      links += 1;
      yield { path: next, stats };
      yield { path: at, stats: statSync(at) };
      const target = readlinkSync(next);
      pending.unshift(...target.split(sep));
      if (isAbsolute(target)) at = sep;
    } else at = next;
  }
  yield { path: dirname(at), stats: statSync(dirname(at)) };
}

const foreignOwner = (path: string, { uid: owner }: Stats, uid: number): Exposure | undefined =>
  owner === uid || owner === 0
    ? undefined
    : {
        path,
        reason: `belongs to another user (uid ${owner})`,
        remedy: `Look at what is in it, then make it yours: chown ${uid} ${path}`,
      };

const writableFile = (path: string, stats: Stats): Exposure | undefined =>
  (stats.mode & WRITABLE_BY_OTHERS) === 0 ? undefined : writable(path, stats);

/** In a sticky directory others cannot touch what is not theirs; on a read-only mount (a ConfigMap) nobody can. */
const writableDirectory = (path: string, stats: Stats): Exposure | undefined => {
  if (!stats.isDirectory() || (stats.mode & WRITABLE_BY_OTHERS) === 0) return undefined;
  if ((stats.mode & STICKY) !== 0 || isReadOnly(path)) return undefined;
  return writable(path, stats);
};

const writable = (path: string, { mode }: Stats): Exposure => ({
  path,
  reason: `can be written by others (mode ${(mode & 0o7777).toString(8).padStart(4, "0")})`,
  remedy: `Look at what is in it, then: chmod go-w ${path}`,
});

const isReadOnly = (path: string): boolean => {
  try {
    accessSync(path, constants.W_OK);
    return false;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EROFS";
  }
};

/** What cannot be looked at cannot be read either, and reading says why. */
const ifThere = (look: () => Stats): Stats | undefined => {
  try {
    return look();
  } catch {
    return undefined;
  }
};
