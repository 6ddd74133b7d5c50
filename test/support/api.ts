/** The stage of the e2e tests: a TLS upstream behind a name, a file that routes to it, a canary for a key. */
import { createTestAuthority } from "./certificates.ts";
import { startUpstream, type TestUpstream, type UpstreamHandler } from "./upstream.ts";
import { createWorkspace, type Workspace } from "./workspace.ts";

export const API_HOST = "api.example.test";
export const API_URL = `https://${API_HOST}/v1/models`;
export const CANARY = "sk-canary-4f9d1c27b80e63a5";

export interface Api {
  readonly work: Workspace;
  readonly upstream: TestUpstream;
  close(): Promise<void>;
}

/** `more` is added to the file. The key lies in the vault, bound to the upstream's host. */
export const createApi = async (handler?: UpstreamHandler, more = ""): Promise<Api> => {
  const authority = await createTestAuthority();
  const tls = await authority.issue({ names: [API_HOST] });
  const upstream = await startUpstream({ tls, ...(handler !== undefined && { handler }) });
  const work = createWorkspace();
  work.write("upstream-ca.pem", authority.certificatePem);
  work.write(
    "sidekey.yaml",
    `version: 1
listen: { proxy: "127.0.0.1:0" }
routes:
  api:
    match: https://${API_HOST}/v1/**
    secret: production/x/key
    env: API_KEY
upstream:
  ca: ./upstream-ca.pem
  connect: { "${API_HOST}:443": "${upstream.address}" }
${more}`,
  );
  const stored = await work.sidekey(["secret", "set", "production/x/key", "--host", API_HOST], { input: CANARY });
  if (stored.code !== 0) throw new Error(stored.stderr);
  return {
    work,
    upstream,
    async close() {
      await upstream.close();
      work.remove();
    },
  };
};

/** The forms in which the key could stand somewhere. */
export const CANARY_FORMS: readonly string[] = [
  CANARY,
  Buffer.from(CANARY).toString("base64").replace(/=+$/, ""),
  Buffer.from(CANARY).toString("base64url"),
  Buffer.from(CANARY).toString("hex"),
  encodeURIComponent(CANARY),
];
