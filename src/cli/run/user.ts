/**
 * `run --user`: the program runs as somebody who cannot read this process or its files. Only root can do that. Whatever
 * keeps the change from being whole is refused: the boundary is there, or the program does not start.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SidekeyError } from "../../core/errors.ts";

export interface OtherUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
}

/** What a program needs that runs as another user. */
export interface Boundary {
  /** The program and its arguments, to be started as the user. */
  command(words: readonly string[]): readonly string[];
  /** What says who one is. */
  readonly variables: Readonly<Record<string, string>>;
  /** That the user can read, for what is public: the state directory is closed to others. Absolute. */
  readonly publicDirectory: string;
  /** What does not hold, or not work, for this user: lines for the person. */
  readonly notes: readonly string[];
  canRead(path: string): boolean;
  /** Removes the directory. */
  close(): void;
}

/** Errors: CONFIG_USAGE. */
export const openBoundary = (name: string): Boundary => {
  const user = findUser(name);
  const publicDirectory = mkdtempSync(join(tmpdir(), "sidekey-run-"));
  const close = (): void => rmSync(publicDirectory, { recursive: true, force: true });
  try {
    chmodSync(publicDirectory, 0o755);
    requireChange(user, publicDirectory);
  } catch (error) {
    close();
    throw error;
  }
  return {
    command: (words) => [...asUser(user), ...words],
    variables: { HOME: user.home, USER: user.name, LOGNAME: user.name, SHELL: user.shell },
    publicDirectory,
    notes: canTypeIntoTerminal()
      ? [`'${name}' shares this terminal, and this kernel lets it type into it: sysctl dev.tty.legacy_tiocsti=0`]
      : [],
    canRead: (path) => ask(user, ["test", "-r", path]).status === 0,
    close,
  };
};

/** As useradd(8) takes them; none begins with what a program reads as an option. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$/;

/** The user of that name, for a process of user `uid`. Errors: CONFIG_USAGE. */
export const findUser = (name: string, uid = process.getuid?.(), look = lookUp): OtherUser => {
  if (uid !== 0) {
    throw refusal(
      "Only root can run a program as another user.",
      "Start it as root, or as that user yourself and keep sidekey under another.",
    );
  }
  const user = NAME.test(name) ? parseUser(look(name)) : undefined;
  if (user === undefined || user.name !== name) throw refusal(`There is no user '${name}'.`, "See: getent passwd");
  if (user.uid === 0) throw refusal(`'${name}' is root, who can read everything.`, "Name a user without rights.");
  return user;
};

/** A line of passwd(5); undefined when it is something else. */
export const parseUser = (line: string): OtherUser | undefined => {
  const [name = "", , uid = "", gid = "", , home = "", shell = ""] = line.trim().split(":");
  if (name === "" || !/^\d+$/.test(uid) || !/^\d+$/.test(gid)) return undefined;
  return { name, uid: Number(uid), gid: Number(gid), home: home || "/", shell: shell || "/bin/sh" };
};

/** Users may come from a directory service, so the system is asked and not a file. */
const lookUp = (name: string): string => spawnSync("getent", ["passwd", name], { encoding: "utf8" }).stdout ?? "";

/** Words before a program that make it run as the user: the user's own groups, no capabilities, and no way back. */
const asUser = ({ uid, gid }: OtherUser): readonly string[] => [
  "setpriv",
  `--reuid=${uid}`,
  `--regid=${gid}`,
  "--init-groups",
  "--inh-caps=-all",
  "--no-new-privs",
  "--",
];

/** Errors: CONFIG_USAGE, where the user cannot be changed to, or cannot reach the directory. */
const requireChange = (user: OtherUser, directory: string): void => {
  const { error, stderr, status } = ask(user, ["test", "-x", directory]);
  if (error !== undefined || stderr !== "") {
    throw refusal(
      `setpriv cannot change to user '${user.name}' (${error?.message ?? stderr.trim()}).`,
      "Install setpriv of util-linux; in a container allow SETUID and SETGID.",
    );
  }
  if (status !== 0) throw refusal(`User '${user.name}' cannot reach ${directory}.`, "Set TMPDIR to a place it can.");
};

/** With PATH alone: what runs as the user shows its environment to the user. */
const ask = (user: OtherUser, question: readonly string[]) => {
  const [program = "", ...words] = asUser(user);
  return spawnSync(program, [...words, ...question], {
    encoding: "utf8",
    cwd: "/",
    env: { PATH: process.env["PATH"] ?? "" },
  });
};

/** Linux before 6.2, or told to (sysctl dev.tty.legacy_tiocsti): who shares a terminal can type into it (TIOCSTI). */
const canTypeIntoTerminal = (): boolean => {
  try {
    closeSync(openSync("/dev/tty", "r"));
  } catch {
    // No terminal.
    return false;
  }
  try {
    return readFileSync("/proc/sys/dev/tty/legacy_tiocsti", "utf8").trim() !== "0";
  } catch {
    // A kernel without the switch has it on.
    return true;
  }
};

const refusal = (detail: string, hint: string): SidekeyError => new SidekeyError("CONFIG_USAGE", { detail, hint });
