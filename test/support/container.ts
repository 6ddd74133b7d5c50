/**
 * Images and containers without an engine, for root on Linux: the steps of a Dockerfile run over this machine's own files
 * (they stand for the base image), and what they leave starts as another uid, on a read-only root, with its own processes
 * and a network of its own. All of it lives in a mount namespace that ends with this process; nothing here is changed.
 * No engine's seccomp profile and no image of a registry: what those do is not shown by it.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CopyStep, Stage } from "./dockerfile.ts";
import { type Finished, finished } from "./program.ts";

/** Why no container can be made here; undefined = one can. With SIDEKEY_TEST_ALL=1 nothing is a reason. */
export const noContainers = (): string | undefined => {
  if (process.env["SIDEKEY_TEST_ALL"] === "1") return undefined;
  if (process.getuid?.() !== 0) return "needs root";
  const works = (program: string, ...args: string[]): boolean => spawnSync(program, args).status === 0;
  if (!works("unshare", "--mount", "--net", "--pid", "--fork", "true")) return "no unshare here";
  if (!works("setpriv", "--version")) return "no setpriv here";
  if (!works("nft", "--version")) return "no nft here";
  if (!works("ip", "-V")) return "no ip here";
  if (!readFileSync("/proc/filesystems", "utf8").includes("\toverlay\n")) return "no overlay file system here";
  return undefined;
};

export interface Mount {
  /** In the host's view; `tmpfs` = an empty one of its own, for all to write. */
  readonly from: string;
  readonly at: string;
  readonly readOnly?: boolean;
}

export interface ContainerOptions {
  readonly image: Image;
  readonly user: string;
  readonly mounts: readonly Mount[];
  readonly environment?: Readonly<Record<string, string>>;
}

export interface Image {
  /** Directory that holds what the steps changed. */
  readonly layer: string;
  readonly stage: Stage;
}

export interface Container {
  /** Runs a program in it to its end, beside whatever runs already, as the container's user. */
  run(command: readonly string[], input?: string): Promise<Finished>;
  /** Starts a program as process 1 of its own. */
  start(command: readonly string[]): Process;
}

export interface Process {
  readonly child: ChildProcess;
  readonly end: Promise<Finished>;
  /** To process 1, as an engine does. */
  signal(name: NodeJS.Signals): void;
}

export interface Host {
  /** On a file system of its own, in its namespace. */
  readonly directory: string;
  /** Runs a shell script in the namespace, as root. Its standard output. Errors: what it wrote, when it fails. */
  shell(script: string, ...args: readonly string[]): string;
  /** Runs a program in the namespaces, as root. */
  spawn(program: string, ...args: readonly string[]): ChildProcess;
  build(stages: readonly Stage[], context: string): Image;
  container(options: ContainerOptions): Container;
  close(): Promise<void>;
}

/** `addresses`: what the network has besides loopback, such as `10.1.2.3/24`. */
export const createHost = async (addresses: readonly string[] = []): Promise<Host> => {
  const directory = mkdtempSync(join(tmpdir(), "sidekey-host-"));
  // Ends when its standard input does: also when this process dies.
  const holder = spawn("unshare", ["--mount", "--net", "--propagation", "private", "sh", "-c", "echo in; exec cat"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await new Promise<void>((resolve, reject) => {
    holder.stdout.once("data", () => resolve());
    holder.once("error", reject).once("exit", () => reject(new Error("no namespace")));
  });
  const enter = ["--target", String(holder.pid), "--mount", "--net", "--"];
  const shell = (script: string, ...args: readonly string[]): string =>
    execFileSync("nsenter", [...enter, "sh", "-euc", script, "sh", ...args], { encoding: "utf8", stdio: "pipe" });
  shell('mount -t tmpfs -o mode=755 tmpfs "$1"; ip link set lo up', directory);
  for (const address of addresses) shell('ip address add "$1" dev lo', address);
  let containers = 0;

  return {
    directory,
    shell,
    spawn: (program, ...args) => spawn("nsenter", [...enter, program, ...args], { stdio: ["pipe", "pipe", "pipe"] }),
    build: (stages, context) => buildStages(shell, directory, stages, context),
    container(options) {
      const root = mountRoot(shell, join(directory, `container-${++containers}`), options);
      const launch = (command: readonly string[]): ChildProcess =>
        spawn("nsenter", [...enter, ...inside(root, options, command)], { stdio: ["pipe", "pipe", "pipe"] });
      return {
        run(command, input = "") {
          const child = launch(command);
          child.stdin?.on("error", () => {}).end(input);
          return finished(child);
        },
        start(command) {
          const child = launch(command);
          child.stdin?.end();
          return { child, end: finished(child), signal: (name) => process.kill(firstOf(child.pid), name) };
        },
      };
    },
    close: async () => {
      const ended = new Promise((resolve) => holder.once("exit", resolve));
      holder.stdin.end();
      await ended;
      rmSync(directory, { recursive: true, force: true });
    },
  };
};

/** `nsenter` became `unshare`, whose one child is process 1. */
const firstOf = (unshare: number | undefined): number => {
  const child = Number(readFileSync(`/proc/${unshare}/task/${unshare}/children`, "utf8").trim());
  if (!Number.isInteger(child) || child === 0) throw new Error("the container has ended");
  return child;
};

type Shell = Host["shell"];

/** What the base image would not have, whatever is on this machine. */
const NOT_IN_BASE = "app usr/local/bin/sidekey var/lib/sidekey var/lib/sidekey-ca etc/sidekey run/secrets";

const OVERLAY = `
  mkdir -p "$1/upper" "$1/work" "$1/root"
  mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"`;

const buildStages = (shell: Shell, directory: string, stages: readonly Stage[], context: string): Image => {
  const built = new Map<string, Image>();
  const rootOf = (name: string): string => join(directory, `stage-${name}`, "root");
  for (const stage of stages) {
    const at = join(directory, `stage-${stage.name}`);
    shell(`${OVERLAY}; cd "$1/root"; rm -rf ${NOT_IN_BASE}; mkdir -p "$1/root$3"`, at, "/", stage.workdir);
    shell('mount --rbind /proc "$1/proc"; mount --rbind /dev "$1/dev"', rootOf(stage.name));
    for (const step of stage.steps) {
      if (step.kind === "copy") copy(shell, step, rootOf(stage.name), stage, step.from ? rootOf(step.from) : context);
      // No step asks a registry: `npm ci` of this checkout has left all packages in npm's cache.
      else
        shell(
          `cd "$1$2"; npm_config_offline=true chroot "$1" sh -c 'cd "$1" && eval "$2"' sh "$2" "$3"`,
          rootOf(stage.name),
          stage.workdir,
          step.command,
        );
    }
    built.set(stage.name, { layer: join(at, "upper"), stage });
  }
  const last = built.get(stages.at(-1)?.name ?? "");
  if (last === undefined) throw new TypeError("a Dockerfile without a stage");
  return last;
};

/** As COPY has it: of a directory what is in it; several files, or a target that ends in a slash, go into a directory. */
const copy = (shell: Shell, step: CopyStep, root: string, { workdir }: Stage, from: string): void => {
  const target = step.to.startsWith("/") ? root + step.to : join(root, workdir, step.to);
  const into = step.sources.length > 1 || step.to.endsWith("/") ? "1" : "";
  for (const source of step.sources) {
    shell(
      `if [ -d "$1" ]; then mkdir -p "$2"; cp -R --preserve=mode,timestamps,links -T "$1" "$2"
       elif [ -n "$3" ]; then mkdir -p "$2"; cp --preserve=mode,timestamps "$1" "$2"
       else mkdir -p "$(dirname "$2")"; cp --preserve=mode,timestamps -T "$1" "$2"; fi`,
      join(from, source),
      target,
      into,
    );
  }
};

const mountRoot = (shell: Shell, at: string, { image, mounts }: ContainerOptions): string => {
  const root = join(at, "root");
  shell(OVERLAY, at, `${image.layer}:/`);
  shell(
    `mount -t tmpfs -o mode=755 tmpfs "$1/dev"
     for name in null zero random urandom; do touch "$1/dev/$name"; mount --bind "/dev/$name" "$1/dev/$name"; done
     ln -s /proc/self/fd/0 "$1/dev/stdin"; mount -o remount,ro "$1/dev"`,
    root,
  );
  for (const { from, at: target, readOnly = false } of mounts) {
    const script =
      from === "tmpfs"
        ? 'mkdir -p "$1"; mount -t tmpfs -o mode=1777 tmpfs "$1"'
        : `if [ -d "$2" ]; then mkdir -p "$1"; else touch "$1"; fi; mount --bind "$2" "$1"
           [ "$3" = true ] && mount -o remount,bind,ro "$1" || true`;
    shell(script, root + target, from, String(readOnly));
  }
  shell('mount -o remount,ro "$1"', root);
  return root;
};

/** Another uid, no capability and no way to one, its own processes. */
const inside = (root: string, { image, user, environment = {} }: ContainerOptions, command: readonly string[]) => {
  const [uid = "", gid = ""] = user.split(":");
  const variables = { PATH: process.env["PATH"] ?? "", HOME: "/", ...image.stage.environment, ...environment };
  return [
    ...["unshare", "--pid", "--fork", "--kill-child", "sh", "-euc"],
    'root=$1; shift; mount -t proc proc "$root/proc"; exec chroot "$root" "$@"',
    ...["sh", root, "setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", "--no-new-privs"],
    ...["--bounding-set=-all", "--inh-caps=-all"],
    // Again: a change of uid takes away what --kill-child set.
    ...["--pdeathsig=KILL", "env", "-i"],
    ...Object.entries(variables).map(([name, value]) => `${name}=${value}`),
    ...["sh", "-c", 'cd "$1"; shift; exec "$@"', "sh", image.stage.workdir, ...command],
  ];
};
