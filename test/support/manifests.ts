/** What config/kubernetes/ and config/compose.yaml say, in the words that the tests ask for. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse, parseAllDocuments } from "yaml";

const CONFIG = join(import.meta.dirname, "../../config");

export interface Variable {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: unknown;
}

export interface KubernetesContainer {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly restartPolicy?: string;
  readonly env?: readonly Variable[];
  readonly envFrom?: unknown;
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string; readonly readOnly?: boolean }[];
}

export interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
}

export interface Volume {
  readonly name: string;
  readonly configMap?: { readonly name: string };
  readonly secret?: { readonly secretName: string; readonly defaultMode?: number };
  readonly emptyDir?: { readonly medium?: string };
}

export interface PodSpec {
  readonly automountServiceAccountToken: boolean;
  readonly shareProcessNamespace: boolean;
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly initContainers: readonly KubernetesContainer[];
  readonly containers: readonly KubernetesContainer[];
  readonly volumes: readonly Volume[];
}

export interface Resource {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: unknown;
}

/** Every document of every file. Errors: what `yaml` says of a file that is not well-formed. */
export const kubernetesResources = (): readonly Resource[] =>
  readdirSync(join(CONFIG, "kubernetes"))
    .filter((name) => name.endsWith(".yaml"))
    .flatMap((name) => parseAllDocuments(readFileSync(join(CONFIG, "kubernetes", name), "utf8")))
    .map((document) => {
      const [problem] = [...document.errors, ...document.warnings];
      if (problem !== undefined) throw problem;
      return document.toJS() as Resource;
    });

export interface ComposeService {
  readonly image: string;
  readonly build?: { readonly dockerfile_inline: string };
  readonly user: string;
  readonly read_only: boolean;
  readonly cap_drop: readonly string[];
  readonly security_opt: readonly string[];
  readonly networks: readonly string[];
  readonly volumes: readonly string[];
  readonly ports?: unknown;
  readonly environment?: Readonly<Record<string, string>>;
  readonly command?: readonly string[];
  readonly depends_on?: unknown;
}

export interface ComposeFile {
  readonly services: { readonly sidekey: ComposeService; readonly agent: ComposeService };
  readonly networks: {
    readonly agents: { readonly internal: boolean; readonly ipam: { readonly config: readonly [{ subnet: string }] } };
  };
  readonly volumes: Readonly<Record<string, unknown>>;
}

export const composeFile = (): ComposeFile => parse(readFileSync(join(CONFIG, "compose.yaml"), "utf8")) as ComposeFile;

/** config/compose.sidekey.yaml */
export const composeConfig = (): string => readFileSync(join(CONFIG, "compose.sidekey.yaml"), "utf8");
