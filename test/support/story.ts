/**
 * One life of a vault, a file and a sidecar, told by every command there is: what is typed, and what comes of it. A new
 * command gets a line here; test/unit/cli/story.test.ts fails until it has one.
 */
import { API_URL } from "./api.ts";

export interface Line {
  /** As in `--help`. */
  readonly command: string;
  /** Behind the command. */
  readonly args?: readonly string[];
  readonly input?: string;
  /** Default 0. */
  readonly code?: number;
  /** The whole of standard output; default: nothing. */
  readonly prints?: RegExp;
  /** The whole of standard error; default: nothing. */
  readonly says?: RegExp;
  /** Only where this is: a sidecar that runs for the file. */
  readonly running?: true;
}

/** Not the value that a test looks for everywhere, but one that must be shown when it is asked for. */
export const SECOND_VALUE = "sk-second-0d93f7a1c6e24b58";

const PATH = "production/y/key";
const TIME = "\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z";

/** In the order they are typed; test/e2e/story.test.ts types them. */
export const STORY: readonly Line[] = [
  { command: "init", args: ["-c", "first.yaml"], prints: /^wrote first\.yaml[^\n]*\n/ },
  { command: "check", prints: /^\S+sidekey\.yaml: fine\n$/ },
  {
    command: "explain",
    args: ["GET", API_URL],
    prints: /^inject {4}by route api\n[\s\S]*sends {5}header:authorization/,
  },
  { command: "test", prints: /^1 passed, 0 failed\n$/ },
  { command: "identity", prints: /^[\w-]{43}\n$/ },
  { command: "doctor", args: ["--client", "none"], prints: /^This machine\n[\s\S]*vault local: opens, 1 secret\n/ },
  { command: "completion", args: ["bash"], prints: /\ncomplete -F _sidekey sidekey\n$/ },

  {
    command: "vault serve",
    args: ["-c", "no-such-vault.yaml"],
    code: 2,
    says: /^sidekey: CONFIG_UNREADABLE: [^\n]*no-such-vault\.yaml[^\n]*\nhint: [^\n]*\n$/,
  },
  { command: "vault init", code: 1, says: /^sidekey: VAULT_STORE_[A-Z]+: [\s\S]*\nhint: / },
  {
    command: "secret set",
    args: [PATH, "--host", "y.example.test"],
    input: "first-value-of-this",
    prints: /^stored production\/y\/key version 1, only for y\.example\.test\n$/,
  },
  {
    command: "secret rotate",
    args: [PATH, "--grace", "1h"],
    input: SECOND_VALUE,
    prints: /^rotated production\/y\/key to version 2; older versions stay readable/,
  },
  { command: "secret get", args: [PATH, "--reveal"], prints: new RegExp(`^${SECOND_VALUE}\n$`) },
  {
    command: "secret history",
    args: [PATH],
    prints: new RegExp(`^VERSION +WRITTEN[^\n]*\n2 +${TIME}[^\n]*\n1 +${TIME}`),
  },
  {
    command: "secret rollback",
    args: [PATH, "1"],
    prints: /^production\/y\/key is at version 3, with the value of version 1\n$/,
  },
  {
    command: "secret import",
    args: ["keys.env", "--prefix", "imported"],
    prints: /imported\/SOME_API_KEY +1/,
    says: /^sidekey: keys\.env still holds these values in plain text\.[^\n]*\nsidekey: [^\n]*\n$/,
  },
  {
    command: "secret list",
    prints: /^PATH[\s\S]*imported\/SOME_API_KEY[\s\S]*production\/x\/key[\s\S]*production\/y\/key/,
  },
  { command: "secret rm", args: ["imported/SOME_API_KEY"], prints: /^removed imported\/SOME_API_KEY\n$/ },

  {
    command: "token issue",
    args: ["--scope", "secrets:use:production/*", "--ttl", "30m"],
    prints: /^[\w-]+\.[\w-]+\.[\w-]+\n$/,
  },
  { command: "token inspect", input: "TOKEN", prints: /^id [\s\S]*valid +yes\n$/ },
  {
    command: "token list",
    prints: new RegExp(`^ID +AGENT[^\n]*\n[\\s\\S]*active +${TIME} +secrets:use:production/\\*`),
  },
  { command: "token revoke", args: ["TOKEN_ID"], prints: /revoked/ },

  {
    command: "agent create",
    args: ["research", "--scope", "secrets:use:production/*"],
    prints: /^ast_agent_[\w-]{43}\n$/,
    says: /^sidekey: the key is shown this once[^\n]*\n$/,
  },
  {
    command: "agent enroll",
    args: ["research", "--jkt", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"],
    prints: /^enrolled NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs for research\n$/,
  },
  {
    command: "sidecar list",
    prints: /^NAME +AGENT[^\n]*\nresearch +research +active +\S+ +NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs /,
  },
  {
    command: "sidecar revoke",
    args: ["NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"],
    prints: /^revoked NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs\n$/,
  },
  { command: "agent list", prints: /^NAME +KIND[^\n]*\nresearch +agent +active +- / },
  { command: "agent update", args: ["research", "--description", "reads papers"], prints: /^updated research\n$/ },
  { command: "agent revoke", args: ["research"], prints: /^revoked research\n$/ },
  { command: "approval list", says: /^sidekey: nothing waits for a decision\n$/ },
  { command: "approval approve", args: ["none"], code: 1, says: /^sidekey: VAULT_APPROVAL_UNKNOWN: [^\n]*\nhint: / },
  {
    command: "approval deny",
    args: ["none", "--reason", "no"],
    code: 1,
    says: /^sidekey: VAULT_APPROVAL_UNKNOWN: [^\n]*\nhint: /,
  },

  {
    command: "vault backup",
    args: ["vault.backup"],
    prints: /^backed up 2 secrets to \S+vault\.backup, and read it back\n/,
    says: /^sidekey: its key is not in it, [^\n]*\n$/,
  },
  {
    command: "vault restore",
    args: ["vault.backup", "--replace"],
    prints: /^restored 2 secrets of /,
    says: /^sidekey: running sidecars use them with their next request; [^\n]*\n$/,
  },
  { command: "vault rekey", prints: /\S/, says: /^sidekey: the old key has left [^\n]*\n$/ },

  {
    command: "run",
    args: ["--", "node", "-e", `fetch("${API_URL}").then(async (r) => console.log(r.status, await r.text()))`],
    prints: /^200 \{"ok":true\}\n$/,
    says: /^sidekey: same user: [^\n]*\n$/,
  },
  {
    command: "start",
    running: true,
    prints:
      /^sidekey ready \{"pid":\d+,"proxy":"127\.0\.0\.1:\d+","gateway":null,"health":null,"admin":"unix:[^"]+"\}\n$/,
  },
  { command: "status", running: true, prints: /^sidekey \S+, process \d+, up [\s\S]*\nlocal:production\/x\/key {2}/ },
  { command: "reload", running: true, prints: /^generation 2\n$/ },
  { command: "env", running: true, prints: /HTTPS_PROXY[\s\S]*NODE_EXTRA_CA_CERTS/ },

  { command: "ca print", prints: /^-----BEGIN CERTIFICATE-----\n[\s\S]*-----END CERTIFICATE-----\n$/ },
  { command: "ca export", args: ["shared"], prints: /^\S+\/shared\/ca\.pem\n\S+\/shared\/ca-bundle\.pem\n$/ },
  {
    command: "ca rotate",
    prints: /^signs now {3}Sidekey CA [\s\S]*\nbefore/,
    says: /^sidekey: agents with the ca\.pem/,
  },

  { command: "audit tail", args: ["-n", "50"], prints: /outcome {2}api {2}200 {2}ok[\s\S]*reload/ },
  { command: "audit search", args: ["--route", "api"], prints: /GET {2}api\.example\.test/ },
  {
    command: "audit export",
    code: 2,
    says: /^sidekey: CONFIG_USAGE: [^\n]*--vault URL\.\nhint: [^\n]*audit search --json\n$/,
  },
  { command: "audit verify", prints: /audit\.jsonl: intact, \d+ records/ },
];
