/**
 * The vault servers of the file: whether they answer, are trusted, know this sidecar, and how long its token lives. Asks
 * for nothing that changes anything, and makes no key.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { AgentVault } from "../../client/index.ts";
import { readCredential } from "../../config/credential.ts";
import { systemClock } from "../../core/clock.ts";
import { toSidekeyError } from "../../core/errors.ts";
import { isValidAt, validityOf, validityWords } from "../../core/validity.ts";
import type { SidecarConfig } from "../../sidecar/app/config/config.ts";
import type { Invocation } from "../command.ts";
import { type Finding, failed, finding } from "./finding.ts";

type Environment = Invocation["environment"];
type VaultFields = Extract<SidecarConfig["sources"][number]["fields"], { readonly kind: "sidekey" }>;

/** In the state directory. */
const SIDECAR_KEY = "identity.key";
/** `ms` */
const TIMEOUT_MS = 5_000;
/** A token that ends sooner is worth a word. `ms` */
const SOON_MS = 10 * 60 * 1000;
/** Whoever renews a certificate does it with more of its life left. */
const LAST_PART = 0.1;

export const checkVaultServers = async (
  config: SidecarConfig,
  environment: Environment,
): Promise<readonly Finding[]> => {
  const found: Finding[] = [];
  for (const { name, fields } of config.sources) {
    if (fields.kind === "sidekey")
      found.push(...(await checkServer(`vault ${name}`, name, fields, config, environment)));
  }
  return found;
};

const checkServer = async (
  what: string,
  source: string,
  fields: VaultFields,
  config: SidecarConfig,
  environment: Environment,
): Promise<readonly Finding[]> => {
  const { baseDir } = config;
  const { AgentVault: Client } = await import("../../client/index.ts");
  const read = (credential: VaultFields["token"]): string | undefined =>
    credential === undefined ? undefined : readCredential(credential, { baseDir, environment });
  let shown: readonly Finding[] = [];
  try {
    const agentKey = read(fields.agent_key);
    const token = read(fields.token);
    const { requireClientTls, tlsFilesOf } = await import("../../sidecar/secrets/vault-session/tls-watch.ts");
    const tls = requireClientTls(tlsFilesOf(fields, baseDir), source);
    shown = checkCertificate(what, tls.certificate?.cert);
    const client = new Client({
      address: fields.address,
      timeoutMs: TIMEOUT_MS,
      retries: 0,
      ...(agentKey !== undefined && { agentKey }),
      ...tls,
    });
    try {
      const { version = "unknown version" } = await client.health();
      const secure = fields.address.startsWith("https:") ? "over TLS that is trusted here" : "on this machine";
      const thumbprint = await thumbprintIn(config.state);
      return [
        finding("ok", what, `${fields.address} answers ${secure} (${version})`),
        ...shown,
        ...(agentKey === undefined ? [] : [await checkEnrolled(what, client, thumbprint)]),
        ...(token === undefined ? [] : await checkToken(what, source, token, thumbprint, config)),
      ];
    } finally {
      client.close();
    }
  } catch (error) {
    return [failed(what, toSidekeyError(error)), ...shown];
  }
};

/** The one that is shown to the vault, in PEM. */
const checkCertificate = (what: string, cert: string | undefined): readonly Finding[] => {
  const validity = cert === undefined ? undefined : validityOf(cert);
  if (validity === undefined) return [];
  const now = systemClock.now();
  const renew = "Renew it, and its key with it; a sidecar that runs reads both again.";
  const { from, to } = validity;
  if (!isValidAt(validity, now)) {
    return [finding("fail", what, `the certificate for it is not valid now (${validityWords(validity)})`, renew)];
  }
  const end = new Date(to).toISOString();
  if (to - now < (to - from) * LAST_PART)
    return [finding("warn", what, `the certificate for it ends soon (${end})`, renew)];
  return [finding("ok", what, `the certificate for it is good until ${end}`)];
};

/** Undefined: there is no key yet. */
const thumbprintIn = async (state: string): Promise<string | undefined> => {
  const { openSidecarKey, SIDECAR_KEY_FILE } = await import("../../identity/sidecar-key.ts");
  const path = join(state, SIDECAR_KEY_FILE);
  return existsSync(path) ? (await openSidecarKey(path)).thumbprint : undefined;
};

/** Also tells whether the vault takes the agent's key. */
const checkEnrolled = async (what: string, client: AgentVault, thumbprint: string | undefined): Promise<Finding> => {
  const known = thumbprint === undefined ? undefined : await client.sidecars.find(thumbprint);
  if (known === undefined) return finding("info", what, "takes the agent's key; this sidecar enrols when it starts");
  if (known.revokedAt === undefined) return finding("ok", what, "takes the agent's key, and knows this sidecar");
  const since = new Date(known.revokedAt).toISOString();
  return finding(
    "fail",
    what,
    `takes the agent's key, but this sidecar was revoked (${since})`,
    `If that was a mistake: stop it and remove ${SIDECAR_KEY}; it enrols a new key when it starts.`,
  );
};

const checkToken = async (
  what: string,
  source: string,
  text: string,
  thumbprint: string | undefined,
  { routes }: SidecarConfig,
): Promise<readonly Finding[]> => {
  const { readToken } = await import("../../sidecar/secrets/vault-session/grant.ts");
  const { scopesCover } = await import("../../identity/scope.ts");
  const { expiresAt, jkt, scopes } = readToken(text);
  const left = expiresAt - systemClock.now();
  const end = new Date(expiresAt).toISOString();
  const again = "sidekey token issue --scope 'secrets:use:PATH' --jkt \"$(sidekey identity)\" --vault URL";
  const found: Finding[] = [];
  if (left <= 0) found.push(finding("fail", what, `its token has expired (${end})`, again));
  else if (left < SOON_MS) found.push(finding("warn", what, `its token ends soon (${end})`, again));
  else found.push(finding("ok", what, `its token is good until ${end}`));
  if (jkt !== undefined && jkt !== thumbprint) {
    found.push(finding("fail", what, "its token is bound to another key than this sidecar's", again));
  }
  const wanted = routes.flatMap(({ injections, issued }) => [
    ...injections.flatMap(({ ref }) => (ref.source === source && ref.path.includes("/") ? [ref.path] : [])),
    ...(issued?.source === source ? issued.fields.secrets : []),
  ]);
  const denied = [...new Set(wanted)].filter((path) => !scopesCover(scopes, "use", path));
  if (denied.length > 0) found.push(finding("fail", what, `its token does not cover ${denied.join(", ")}`, again));
  return found;
};
