/**
 * The Dockerfile's steps, run in a clean copy, and what they leave, started as config/kubernetes/ and config/compose.yaml
 * say: another uid, a read-only root, a network of its own. The volumes are laid out as a kubelet does.
 */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { CANARY, CANARY_FORMS } from "../support/api.ts";
import { createTestAuthority } from "../support/certificates.ts";
import {
  type Container,
  createHost,
  type Host,
  type Image,
  type Mount,
  noContainers,
  type Process,
} from "../support/container.ts";
import { parseDockerfile } from "../support/dockerfile.ts";
import {
  composeConfig,
  composeFile,
  type KubernetesContainer,
  kubernetesResources,
  type PodSpec,
  type Volume,
} from "../support/manifests.ts";
import type { Finished } from "../support/program.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const ROOT = join(import.meta.dirname, "../..");
const HOST = "api.openai.com";
const UPSTREAM = "127.0.0.1:9443";
const reason = noContainers();

/** Added to a file of the examples: their host, on this machine. */
const STAND_IN = `
upstream:
  ca: /etc/stand-in.pem
  connect: { "${HOST}:443": "${UPSTREAM}" }
`;

/** Files as git has them here, and nothing else: what a clone would hold. */
const copyOfTheTree = (work: Workspace): string => {
  const names = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], { cwd: ROOT });
  execFileSync("cp", ["--parents", "--preserve=mode", ...present(names), work.path], { cwd: ROOT });
  return work.path;
};

const present = (names: Buffer): readonly string[] => names.toString().split("\0").filter(Boolean);

/** As a kubelet projects a ConfigMap or a Secret: links through a directory that is swapped as a whole. */
const project = (directory: string, files: Readonly<Record<string, string>>, mode: number): string => {
  const data = "..2026_11_28_00_00_00.1";
  mkdirSync(join(directory, data), { recursive: true });
  chmodSync(directory, 0o777);
  symlinkSync(data, join(directory, "..data"));
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(directory, data, name), text);
    chmodSync(join(directory, data, name), mode);
    symlinkSync(join("..data", name), join(directory, name));
  }
  return directory;
};

const emptyDirectory = (directory: string, mode: number, owner = 0): string => {
  mkdirSync(directory, { recursive: true });
  chmodSync(directory, mode);
  chownSync(directory, owner, owner);
  return directory;
};

const untilReady = async (act: () => Promise<boolean>): Promise<void> => {
  const end = Date.now() + 60_000;
  while (!(await act())) {
    if (Date.now() > end) throw new Error("not ready within 60 s");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

describe.skipIf(reason !== undefined)(`the image${reason === undefined ? "" : ` (skipped: ${reason})`}`, () => {
  let host: Host;
  let work: Workspace;
  let image: Image;
  let standIn: readonly Mount[];

  beforeAll(async () => {
    work = createWorkspace();
    host = await createHost(["10.1.2.3/24", "172.30.70.2/24", "198.51.100.7/24"]);
    try {
      image = host.build(parseDockerfile(readFileSync(join(ROOT, "Dockerfile"), "utf8")), copyOfTheTree(work));
    } catch (error) {
      // Packages installed by something else than npm, or long ago. CI has just run `npm ci`.
      if (process.env["SIDEKEY_TEST_ALL"] === "1" || !String(error).includes("ENOTCACHED")) throw error;
      uncached = true;
      return;
    }
    const authority = await createTestAuthority();
    const { cert, key } = await authority.issue({ names: [HOST] });
    const ca = work.write("stand-in-ca.pem", authority.certificatePem);
    standIn = [{ from: ca, at: "/etc/stand-in.pem", readOnly: true }];
    const program = join(ROOT, "test/support/stand-in.mjs");
    const [address = "", port = ""] = UPSTREAM.split(":");
    const files = [work.write("cert.pem", cert), work.write("key.pem", key)];
    const upstream = host.spawn(
      "env",
      `STAND_IN_AUTHORIZATION=Bearer ${CANARY}`,
      process.execPath,
      program,
      address,
      port,
      ...files,
    );
    await new Promise<void>((resolve, reject) => {
      upstream.stdout?.once("data", () => resolve());
      upstream.stderr?.once("data", (text) => reject(new Error(String(text))));
    });
    stopUpstream = async () => {
      const closed = once(upstream, "close");
      upstream.kill();
      await closed;
    };
  }, 180_000);
  let uncached = false;
  beforeEach((context) => {
    if (uncached) context.skip("npm's cache lacks a package of the image");
  });
  let stopUpstream: (() => Promise<void>) | undefined;
  let started: Process | undefined;
  /** Until its health check passes, or with what it wrote when it ends before that. */
  const start = async (container: Container, command: readonly string[], isReady: () => Promise<boolean>) => {
    started = container.start(command);
    const { end } = started;
    let ended: Finished | undefined;
    void end.then((result) => {
      ended = result;
    });
    await untilReady(async () => ended !== undefined || (await isReady()));
    expect(ended).toBeUndefined();
    return started;
  };
  afterEach(async () => {
    started?.child.kill("SIGKILL");
    // Its streams are open until the last process of the container is gone.
    await started?.end;
    started = undefined;
  });
  afterAll(async () => {
    await stopUpstream?.();
    await host?.close();
    work?.remove();
  });

  it("holds what runs and nothing that only builds", () => {
    const app = join(image.layer, "app");
    const there = host.shell('cd "$1" && ls -A && ls -A node_modules', app).split("\n");
    for (const name of ["dist", "config", "package.json", "undici", "lmdb"]) expect(there).toContain(name);
    for (const name of ["src", "test", ".git", "typescript", "vitest", "axios"]) expect(there).not.toContain(name);
    // All of it root's, and written by nobody else.
    expect(host.shell('find "$1" ! -type l \\( ! -user root -o -perm /022 \\) | head -5', app)).toBe("");
    expect(host.shell('stat -c "%u:%g %a" "$1"/var/lib/sidekey "$1"/var/lib/sidekey-ca', image.layer)).toBe(
      "10001:10001 700\n10001:10001 755\n",
    );
  });

  /** The agent, calling as a client does that reads its environment. */
  const call = (agent: Container) =>
    agent.run(["curl", "-sS", "--max-time", "30", `https://${HOST}/v1/models`, "-H", "Authorization: Bearer x"]);

  const expectAnswer = ({ code, stdout, stderr }: Awaited<ReturnType<typeof call>>): void => {
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(JSON.parse(stdout)).toMatchObject({ ok: true, you_sent: expect.stringContaining("[redacted]") });
    for (const form of CANARY_FORMS) expect(stdout).not.toContain(form);
  };

  describe("as config/kubernetes says", () => {
    const resources = kubernetesResources();
    const data = (name: string) =>
      resources.find((one) => one.kind === "ConfigMap" && one.metadata.name === name)?.data ?? {};
    const deployment = resources.find(({ kind }) => kind === "Deployment")?.spec as { template: { spec: PodSpec } };
    const pod = deployment.template.spec;
    const all = [...pod.initContainers, ...pod.containers];
    const spec = (name: string): KubernetesContainer => {
      const found = all.find((one) => one.name === name);
      if (found === undefined) throw new Error(`no container ${name}`);
      return found;
    };
    const userOf = ({ securityContext }: KubernetesContainer): string =>
      `${securityContext["runAsUser"]}:${securityContext["runAsGroup"]}`;

    let volumes: ReadonlyMap<string, string>;
    const lay = ({ name, configMap, secret, emptyDir }: Volume): string => {
      const at = join(work.path, "volumes", name);
      if (configMap !== undefined) {
        const files = data(configMap.name);
        const text = files["sidekey.yaml"];
        return project(at, text === undefined ? files : { ...files, "sidekey.yaml": text + STAND_IN }, 0o644);
      }
      // As `kubectl create secret --from-file` leaves it, with what a shell adds.
      if (secret !== undefined) return project(at, { openai: `${CANARY}\n` }, secret.defaultMode ?? 0o644);
      if (emptyDir === undefined) throw new Error(`no such volume: ${name}`);
      return emptyDir.medium === "Memory" ? "tmpfs" : emptyDirectory(at, 0o777);
    };
    const containerOf = (one: KubernetesContainer): Container =>
      host.container({
        image,
        user: userOf(one),
        mounts: [
          ...standIn,
          ...one.volumeMounts.map(({ name, mountPath, readOnly = false }) => ({
            from: volumes.get(name) ?? "",
            at: mountPath,
            readOnly,
          })),
        ],
        environment: Object.fromEntries((one.env ?? []).map(({ name, value = "" }) => [name, value])),
      });

    it("starts the sidecar, answers its probes, and lets the agent call with a key that it cannot see", async () => {
      volumes = new Map(pod.volumes.map((volume) => [volume.name, lay(volume)]));
      const sidecarSpec = spec("sidekey");
      const sidecar = containerOf(sidecarSpec);
      const probe = async (path: string): Promise<string> => {
        const child = host.spawn("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", `http://10.1.2.3:7072${path}`);
        let text = "";
        for await (const chunk of child.stdout ?? []) text += String(chunk);
        return text;
      };
      const command = [...image.stage.entrypoint, ...(sidecarSpec.args ?? [])];
      const running = await start(sidecar, command, async () => (await probe("/readyz")) === "200");
      expect(await probe("/healthz")).toBe("200");

      const agent = containerOf(spec("agent"));
      expectAnswer(await call(agent));

      // What the agent can look at, and what it cannot.
      const look = await agent.run([
        "sh",
        "-c",
        "id -u; ls /var/lib/sidekey-ca; ls -A /var/lib/sidekey /run/secrets /etc/sidekey 2>&1; touch /var/lib/sidekey-ca/x 2>&1; cat /proc/[0-9]*/environ | tr '\\0' '\\n'",
      ]);
      expect(look.stdout).toMatch(/^10002\nca-bundle\.pem\nca\.pem\n/);
      expect(look.stdout).toContain("Read-only file system");
      expect(look.stdout).not.toContain("vault");
      for (const form of CANARY_FORMS) expect(look.stdout).not.toContain(form);

      // In the sidecar's container nothing can be written but its volumes and /tmp.
      const writable = await sidecar.run([
        "sh",
        "-c",
        "grep -E ' rw[, ]' /proc/self/mounts | cut -d' ' -f2 | grep -v ^/dev/ | sort -u; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status",
      ]);
      expect(writable.stdout.trim().split("\n").sort()).toEqual([
        "/proc",
        "/tmp",
        "/var/lib/sidekey",
        "/var/lib/sidekey-ca",
        "CapBnd:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
      ]);

      // SIGTERM to process 1, as at the end of a pod.
      running.signal("SIGTERM");
      const { code, stdout, stderr } = await running.end;
      expect(code).toBe(0);
      expect(stdout).toMatch(/^sidekey ready \{"pid":1,"proxy":"127\.0\.0\.1:7070",.*"health":"0\.0\.0\.0:7072"/);
      for (const form of CANARY_FORMS) expect(stdout + stderr).not.toContain(form);
    });

    it("fences the agent's uid in: loopback answers, anything else is refused, and the sidecar is not touched", async () => {
      const fence = spec("fence");
      const rules = join(work.path, "volumes", "fence", "agent.nft");
      const [program = "", ...args] = fence.command ?? [];
      // A way out that leads nowhere: what is let through waits, and what is refused comes back at once.
      host.shell(
        "ip link add out0 type veth peer name out1; ip link set out0 up; ip link set out1 up; ip route add default dev out0",
      );
      host.shell(`"$@"`, program, ...args.map((arg) => arg.replace(/^\/etc\/fence\/agent\.nft$/, rules)));
      const connect = (user: string) =>
        host
          .container({ image, user, mounts: [] })
          .run(["curl", "-sS", "-o", "/dev/null", "--connect-timeout", "1", "https://192.0.2.1/"]);
      const refused = host.shell("nft list table inet sidekey_fence");
      expect(refused).toContain("packets 0");
      await connect(userOf(spec("sidekey")));
      expect(host.shell("nft list table inet sidekey_fence")).toContain("packets 0");
      expect((await connect(userOf(spec("agent")))).code).not.toBe(0);
      expect(host.shell("nft list table inet sidekey_fence")).not.toContain("packets 0");
      // Loopback stays open to it: the stand-in answers, without a key.
      const loop = await host
        .container({ image, user: userOf(spec("agent")), mounts: [] })
        .run(["curl", "-sk", `https://${UPSTREAM}/`]);
      expect(JSON.parse(loop.stdout)).toEqual({ ok: false, you_sent: "" });
      host.shell("nft delete table inet sidekey_fence");
    });
  });

  it("works as config/compose.yaml says, with a secret set by its command", async () => {
    const { services } = composeFile();
    const volumes: Readonly<Record<string, string>> = {
      // A new volume takes the image's owner and mode.
      state: emptyDirectory(join(work.path, "compose", "state"), 0o700, 10001),
      ca: emptyDirectory(join(work.path, "compose", "ca"), 0o755, 10001),
      file: work.write("compose.sidekey.yaml", composeConfig() + STAND_IN),
      hosts: work.write("hosts", "127.0.0.1 localhost\n172.30.70.2 sidekey\n"),
    };
    const containerOf = ({ user, volumes: list, environment = {} }: (typeof services)["agent"]): Container =>
      host.container({
        image,
        user,
        environment,
        mounts: [
          ...standIn,
          { from: "tmpfs", at: "/tmp" },
          { from: volumes["hosts"] ?? "", at: "/etc/hosts", readOnly: true },
          ...list.map((one) => {
            const [name = "", at = "", mode] = one.split(":");
            return { from: volumes[name] ?? "", at, readOnly: mode === "ro" };
          }),
        ],
      });
    // `compose.yaml` copies the file into the image.
    host.shell('install -D -m 644 "$1" "$2"', volumes["file"] ?? "", join(image.layer, "etc/sidekey/sidekey.yaml"));
    const sidecar = containerOf(services.sidekey);
    const set = [...image.stage.entrypoint, "secret", "set", "production/openai/api-key", "--host", HOST];
    expect(await sidecar.run(set, CANARY)).toMatchObject({ code: 0, stderr: "" });
    const command = [...image.stage.entrypoint, ...image.stage.command];
    // The image's own health check, in the same container.
    const running = await start(sidecar, command, async () => (await sidecar.run(image.stage.healthcheck)).code === 0);
    expectAnswer(await call(containerOf(services.agent)));
    // From an address that is not the agents' network nobody is served.
    const stranger = host.spawn(
      "curl",
      "-sS",
      "--interface",
      "198.51.100.7",
      "-x",
      "http://172.30.70.2:7070",
      "http://x/",
    );
    expect(await new Promise((resolve) => stranger.once("exit", resolve))).not.toBe(0);
    running.signal("SIGTERM");
    expect(await running.end).toMatchObject({ code: 0 });
  });
});
