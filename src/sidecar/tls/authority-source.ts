/**
 * Which CA signs now. That of `run` is fixed; that of `start` follows its key file, so that a rotation acts without a
 * restart. Trouble with the file stops new certificates and nothing else: what was minted before is used to its end.
 */
import { statSync } from "node:fs";
import type { Clock } from "../../core/clock.ts";
import { type SidekeyError, toSidekeyError } from "../../core/errors.ts";
import { errnoOf } from "./authority-files.ts";
import type { CertificateAuthority } from "./certificate-authority.ts";

export interface AuthoritySource {
  /** Never waits: the one that was read last. Looks at the file at most once a second. */
  current(): CertificateAuthority;
  /** For a mint: looks at the file first. Errors: TLS_CA_UNUSABLE. */
  latest(): Promise<CertificateAuthority>;
  /** When the look that is under way has been told of. Never rejects. */
  settled(): Promise<void>;
}

export interface FollowOptions {
  /** The file to watch. */
  readonly path: string;
  /** The first time, when it may have to be made. */
  readonly open: () => Promise<CertificateAuthority>;
  /** Errors: TLS_CA_UNUSABLE. */
  readonly read: () => Promise<CertificateAuthority>;
  readonly clock: Clock;
  /** Another CA signs from now on, or none can. Told once for each change of the file. */
  readonly changed: (outcome: CertificateAuthority | SidekeyError) => void;
}

/** `ms` */
const LOOK_EVERY = 1000;

export const fixedAuthority = (authority: CertificateAuthority): AuthoritySource => ({
  current: () => authority,
  latest: () => Promise.resolve(authority),
  settled: () => Promise.resolve(),
});

/** Errors: those of `open`. */
export const followAuthority = async (options: FollowOptions): Promise<AuthoritySource> => {
  const { path, open, read, clock, changed } = options;
  // Before it is read: what comes in between is then seen.
  let seen = markOf(path);
  let authority = await open();
  let problem: SidekeyError | undefined;
  let lookedAt = clock.monotonic();
  let reading: Promise<void> | undefined;

  const readAgain = async (): Promise<void> => {
    const before = problem;
    try {
      const found = await read();
      problem = undefined;
      if (found.fingerprint === authority.fingerprint && before === undefined) return;
      authority = found;
      changed(found);
    } catch (error) {
      problem = toSidekeyError(error);
      changed(problem);
    }
  };

  const look = (): void => {
    lookedAt = clock.monotonic();
    if (reading !== undefined) return;
    const mark = markOf(path);
    if (mark === seen) return;
    seen = mark;
    reading = readAgain().finally(() => {
      reading = undefined;
    });
  };

  return {
    current() {
      if (clock.monotonic() - lookedAt >= LOOK_EVERY) look();
      return authority;
    },
    async latest() {
      look();
      await reading;
      if (problem !== undefined) throw problem;
      return authority;
    },
    async settled() {
      await reading;
    },
  };
};

/** Differs whenever the file was replaced, written or given other rights. */
const markOf = (path: string): string => {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(" ");
  } catch (error) {
    return errnoOf(error);
  }
};
