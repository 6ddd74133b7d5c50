/** The examples of a deployment, held against each other, the Dockerfile and the program. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Script } from "node:vm";
import { describe, expect, it } from "vitest";
import { childEnvironment } from "../../src/cli/run/environment.ts";
import { loadConfig, type SidecarConfig } from "../../src/sidecar/app/config/config.ts";
import { parseDockerfile } from "../support/dockerfile.ts";
import {
  type ComposeService,
  composeConfig,
  composeFile,
  type KubernetesContainer,
  kubernetesResources,
  type PodSpec,
} from "../support/manifests.ts";

const ROOT = join(import.meta.dirname, "../..");
const VERSION = (JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string }).version;

const stages = parseDockerfile(readFileSync(join(ROOT, "Dockerfile"), "utf8"));
const image = stages.at(-1);

const load = (text: string): SidecarConfig => {
  const result = loadConfig({ file: "sidekey.yaml", text, baseDir: "/etc/sidekey" });
  if ("problems" in result) throw new Error(JSON.stringify(result.problems));
  expect(result.warnings).toEqual([]);
  return result.config;
};

const portOf = (address: SidecarConfig["listen"]["proxy"]): number | undefined =>
  address?.kind === "tcp" ? address.port : undefined;

/** What `run` would set, for a proxy and CA files that are elsewhere; less what only `run` has. */
const expectedVariables = async (proxyUrl: string, directory: string): Promise<Record<string, string>> => {
  const { variables } = await childEnvironment({
    caller: {},
    proxyUrl,
    ca: `${directory}/ca.pem`,
    bundle: `${directory}/ca-bundle.pem`,
    preload: undefined,
    runId: "",
    routes: [],
    removedNames: [],
    exposed: [],
    containsSecret: async () => false,
  });
  const { SIDEKEY_RUN: _, ...others } = variables;
  return others;
};

const PLACEHOLDERS = /^sidekey-placeholder-[a-z-]+$/;

describe("the Dockerfile", () => {
  it("has two stages on one base, and an end that runs as a number", () => {
    expect(stages.map(({ base }) => base)).toEqual(["node:24-slim", "node:24-slim"]);
    expect(image?.user).toMatch(/^[1-9]\d{3,}:[1-9]\d{3,}$/);
  });

  it("takes nothing but named files and folders", () => {
    const sources = stages.flatMap(({ steps }) =>
      steps.flatMap((step) => (step.kind === "copy" && step.from === undefined ? step.sources : [])),
    );
    expect(sources.length).toBeGreaterThan(4);
    for (const source of sources) expect(source).toMatch(/^[\w-]+(\.[a-z-]+)*$/i);
  });

  it("names no secret and no credential in its environment", () => {
    expect(image?.environment).toEqual({ NODE_ENV: "production", SIDEKEY_CONFIG: "/etc/sidekey/sidekey.yaml" });
  });
});

const resources = kubernetesResources();
const named = (kind: string, name: string) => {
  const found = resources.find((one) => one.kind === kind && one.metadata.name === name);
  if (found === undefined) throw new Error(`no ${kind} ${name}`);
  return found;
};
const pod = (named("Deployment", "agent").spec as { template: { spec: PodSpec } }).template.spec;
const container = (name: string): KubernetesContainer => {
  const found = [...pod.initContainers, ...pod.containers].find((one) => one.name === name);
  if (found === undefined) throw new Error(`no container ${name}`);
  return found;
};

describe("config/kubernetes", () => {
  const sidecar = container("sidekey");
  const agent = container("agent");
  const fence = container("fence");
  const config = load(named("ConfigMap", "sidekey").data?.["sidekey.yaml"] ?? "");
  const mounts = (of: KubernetesContainer) =>
    Object.fromEntries(of.volumeMounts.map(({ name, mountPath, readOnly = false }) => [name, { mountPath, readOnly }]));

  it("has a native sidecar: an init container that stays, after the fence and before the agent", () => {
    expect(pod.initContainers.map(({ name }) => name)).toEqual(["fence", "sidekey"]);
    expect(sidecar.restartPolicy).toBe("Always");
    expect(fence.restartPolicy).toBeUndefined();
    expect(pod.containers.map(({ name }) => name)).toEqual(["agent"]);
  });

  it("runs the sidecar as the image's user, and the agent as another that is not root", () => {
    const { runAsUser, runAsGroup } = sidecar.securityContext;
    expect(`${runAsUser}:${runAsGroup}`).toBe(image?.user);
    expect(agent.securityContext["runAsUser"]).toBeGreaterThan(0);
    expect(agent.securityContext["runAsUser"]).not.toBe(runAsUser);
    expect(agent.securityContext["runAsGroup"]).not.toBe(runAsGroup);
    // A group of the whole pod would be the agent's as well.
    expect(Object.keys(pod.securityContext)).not.toContain("fsGroup");
    expect(pod).toMatchObject({ automountServiceAccountToken: false, shareProcessNamespace: false });
    expect(Object.keys(pod)).not.toContain("hostNetwork");
  });

  it("gives no container a way to more", () => {
    for (const { name, securityContext } of [...pod.initContainers, ...pod.containers]) {
      const own = { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true };
      expect(securityContext, name).toMatchObject(own);
      expect(securityContext["capabilities"], name).toMatchObject({ drop: ["ALL"] });
    }
    for (const { name, securityContext } of [sidecar, agent]) {
      expect(securityContext["capabilities"], name).toEqual({ drop: ["ALL"] });
      expect(securityContext, name).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
    }
    expect(fence.securityContext["capabilities"]).toEqual({ drop: ["ALL"], add: ["NET_ADMIN"] });
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
  });

  it("shares nothing with the agent but the CA's files, read-only", () => {
    expect(Object.keys(mounts(agent)).sort()).toEqual(["agent-tmp", "ca"]);
    expect(mounts(agent)["ca"]).toEqual({ mountPath: config.tls.export, readOnly: true });
    expect(mounts(sidecar)["ca"]).toEqual({ mountPath: config.tls.export, readOnly: false });
    expect(mounts(agent)["agent-tmp"]?.mountPath).toBe("/tmp");
    expect(pod.volumes.find(({ name }) => name === "ca")?.emptyDir).toEqual({});
  });

  it("mounts what the file speaks of", () => {
    expect(mounts(sidecar)["config"]).toEqual({ mountPath: "/etc/sidekey", readOnly: true });
    expect(image?.environment["SIDEKEY_CONFIG"]).toBe("/etc/sidekey/sidekey.yaml");
    const [source] = config.sources;
    expect(source?.fields).toEqual({ kind: "file", root: mounts(sidecar)["secrets"]?.mountPath });
    expect(mounts(sidecar)["secrets"]?.readOnly).toBe(true);
    // Below the mount: the sidecar makes it, so that it is its own, whatever the volume's mode is.
    expect(config.state).toMatch(new RegExp(`^${mounts(sidecar)["state"]?.mountPath}/[a-z]+$`));
    for (const one of [sidecar, agent, fence]) {
      for (const { name } of one.volumeMounts) expect(pod.volumes.map((volume) => volume.name)).toContain(name);
    }
    const maps = pod.volumes.flatMap(({ configMap }) => (configMap === undefined ? [] : [configMap.name]));
    for (const map of maps) expect(named("ConfigMap", map).data).toBeDefined();
  });

  it("keeps secrets out of every environment", () => {
    for (const one of [...pod.initContainers, ...pod.containers]) {
      expect(one.envFrom).toBeUndefined();
      for (const { valueFrom } of one.env ?? []) expect(valueFrom).toBeUndefined();
    }
    expect(sidecar.env).toBeUndefined();
    expect(resources.filter(({ kind }) => kind === "Secret")).toEqual([]);
  });

  it("tells the agent what `run` would tell it", async () => {
    const variables = Object.fromEntries((agent.env ?? []).map(({ name, value }) => [name, value]));
    const { OPENAI_API_KEY: placeholder, ...others } = variables;
    expect(placeholder).toMatch(PLACEHOLDERS);
    expect(portOf(config.listen.proxy)).toBe(7070);
    expect(others).toEqual(await expectedVariables("http://127.0.0.1:7070", config.tls.export ?? ""));
    expect(agent.command).toEqual(["node", "-e"]);
    expect(() => new Script(agent.args?.[0] ?? "(")).not.toThrow();
  });

  it("asks for health where the file opens it, and for the agent's start that all is ready", () => {
    const port = sidecar.ports?.find(({ name }) => name === "health")?.containerPort;
    expect(port).toBe(portOf(config.listen.health));
    expect(image?.ports).toContain(port);
    expect(sidecar.startupProbe?.httpGet).toEqual({ path: "/readyz", port: "health" });
    expect(sidecar.readinessProbe?.httpGet).toEqual({ path: "/readyz", port: "health" });
    // A source that is down must not restart the sidecar.
    expect(sidecar.livenessProbe?.httpGet).toEqual({ path: "/healthz", port: "health" });
  });

  it("fences the agent's uid and no other", () => {
    const rules = named("ConfigMap", "sidekey-fence").data?.["agent.nft"] ?? "";
    expect([...rules.matchAll(/skuid (\d+)/g)].map(([, uid]) => Number(uid))).toEqual([
      agent.securityContext["runAsUser"],
    ]);
    expect(fence.command).toEqual(["nft", "-f", `${mounts(fence)["fence"]?.mountPath}/agent.nft`]);
  });

  it("lets nobody into the pod, and nothing out of it but to DNS and to port 443 outside of private ranges", () => {
    const policy = named("NetworkPolicy", "agent").spec as Record<string, unknown>;
    const labels = (named("Deployment", "agent").spec as { template: { metadata: { labels: object } } }).template;
    expect(policy).toMatchObject({
      podSelector: { matchLabels: labels.metadata.labels },
      policyTypes: ["Ingress", "Egress"],
      ingress: [],
    });
    const ports = (policy["egress"] as { ports: { port: number }[] }[]).map((rule) =>
      rule.ports.map(({ port }) => port),
    );
    expect(ports).toEqual([[53, 53], [443]]);
    expect(JSON.stringify(policy["egress"])).toContain("169.254.0.0/16");
  });

  it("names this version", () => {
    expect(sidecar.image).toMatch(new RegExp(`/sidekey:${VERSION}$`));
  });
});

describe("config/compose.yaml", () => {
  const { services, networks, volumes } = composeFile();
  const { sidekey, agent } = services;
  const config = load(composeConfig());

  it("closes both containers, and gives them different users", () => {
    expect(sidekey.user).toBe(image?.user);
    expect(agent.user).toMatch(/^[1-9]\d{3,}:[1-9]\d{3,}$/);
    expect(agent.user).not.toBe(sidekey.user);
    for (const one of [sidekey, agent]) {
      expect(one).toMatchObject({ read_only: true, cap_drop: ["ALL"], security_opt: ["no-new-privileges:true"] });
      // Nothing of this is for the machine outside.
      expect(one.ports).toBeUndefined();
    }
  });

  it("leaves the agent one way out, and lets only its network come in", () => {
    expect(agent.networks).toEqual(["agents"]);
    expect(networks.agents.internal).toBe(true);
    const [{ subnet }] = networks.agents.ipam.config;
    expect(composeConfig()).toContain(`clients: [${subnet}]`);
    expect(portOf(config.listen.proxy)).toBe(7070);
    expect(config.listen.gateway).toBeUndefined();
  });

  it("shares nothing but the CA's files, read-only", () => {
    const mounts = ({ volumes: list }: ComposeService) => list.map((one) => one.split(":"));
    expect(mounts(agent)).toEqual([["ca", config.tls.export, "ro"]]);
    expect(mounts(sidekey)).toEqual([
      ["state", config.state],
      ["ca", config.tls.export],
    ]);
    expect(Object.keys(volumes).sort()).toEqual(["ca", "state"]);
  });

  it("keeps secrets out of every environment, and tells the agent what `run` would", async () => {
    expect(sidekey.environment).toBeUndefined();
    const { OPENAI_API_KEY: placeholder, ...others } = agent.environment ?? {};
    expect(placeholder).toMatch(PLACEHOLDERS);
    expect(others).toEqual(await expectedVariables("http://sidekey:7070", config.tls.export ?? ""));
    // Compose reads one of two dollar signs for itself.
    const [program, option, script = "("] = agent.command ?? [];
    expect([program, option]).toEqual(["node", "-e"]);
    expect(() => new Script(script.replaceAll("$$", "$"))).not.toThrow();
    expect(script.replaceAll("$$", "")).not.toContain("$");
  });

  it("waits for the image's health check, and puts the file where the image looks for it", () => {
    expect(image?.healthcheck).toEqual(["sidekey", "status", "--ready"]);
    expect(agent.depends_on).toEqual({ sidekey: { condition: "service_healthy" } });
    const [inline] = parseDockerfile(sidekey.build?.dockerfile_inline ?? "");
    expect(inline).toMatchObject({
      base: `sidekey:${VERSION}`,
      steps: [{ kind: "copy", sources: ["compose.sidekey.yaml"], to: image?.environment["SIDEKEY_CONFIG"] }],
    });
  });
});
