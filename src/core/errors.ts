/**
 * Every failure Sidekey can name: one code table, one class. What an agent is told comes from the table and from
 * nothing else, so that no cause, header or upstream text can reach it. `detail` is for the operator (command line,
 * log) and must never hold a secret value.
 */

interface ErrorEntry {
  /** HTTP status of the refusal. */
  readonly status: number;
  /** Public sentence: what happened. */
  readonly message: string;
  /** Public sentence: what to do next. */
  readonly hint: string;
  /** Seconds for `Retry-After`, where trying again later makes sense. */
  readonly retryAfter?: number;
}

const entry = (status: number, message: string, hint: string, retryAfter?: number): ErrorEntry =>
  retryAfter === undefined ? { status, message, hint } : { status, message, hint, retryAfter };

export const ERROR_TABLE = {
  INGRESS_BAD_REQUEST: entry(
    400,
    "The request is not one that can be understood in exactly one way.",
    "Send one Host, one framing, and a target without dot segments, '//', '\\' or encoded '/'.",
  ),
  INGRESS_AUTHORITY_MISMATCH: entry(
    421,
    "CONNECT, TLS name, Host and target do not name the same host and port.",
    "Use one host and port for the whole connection.",
  ),
  INGRESS_METHOD_REFUSED: entry(405, "This method is never forwarded.", "Use another method."),
  INGRESS_TIMEOUT: entry(408, "The request did not arrive in time.", "Send it again on a new connection."),
  INGRESS_URI_TOO_LONG: entry(414, "The request target is too long.", "Shorten the target."),
  INGRESS_HEADERS_TOO_LARGE: entry(431, "The request headers are too large.", "Send fewer or shorter headers."),
  INGRESS_EXPECTATION: entry(417, "This expectation is not supported.", "Send only 'Expect: 100-continue', or none."),
  INGRESS_BROWSER: entry(403, "Requests from web pages are refused.", "Call from a program, not from a page."),
  INGRESS_UPGRADE_UNSUPPORTED: entry(501, "Protocol upgrades are not supported.", "Send the request without Upgrade."),
  INGRESS_VERSION: entry(505, "This HTTP version is not supported.", "Use HTTP/1.1."),
  INGRESS_PIPELINE: entry(
    429,
    "Too many requests wait on this connection.",
    "Wait for answers, or open more connections.",
    1,
  ),
  IDENTITY_REQUIRED: entry(407, "The caller is not known.", "Present the token that belongs to this agent."),
  IDENTITY_SCOPE_DENIED: entry(
    403,
    "The sidecar's token does not cover the secret of this route.",
    "Issue a token whose scope covers the secret: sidekey token issue --scope 'secrets:use:PATH'.",
  ),
  IDENTITY_TOKEN_EXPIRED: entry(403, "The sidecar's token has expired.", "Issue a new token, then: sidekey reload."),
  IDENTITY_TOKEN_REVOKED: entry(403, "The sidecar's token was revoked.", "Issue a new token, then: sidekey reload."),
  IDENTITY_KEY_INVALID: entry(
    401,
    "The key is not valid.",
    "Present a key that this vault gave out and still honours.",
  ),
  IDENTITY_TOKEN_SPENT: entry(403, "The token's uses are spent.", "Ask for a new token."),
  IDENTITY_ADDRESS: entry(
    403,
    "The token may not be used from this address.",
    "Call from an address of its list, or ask for a token with another list.",
  ),
  IDENTITY_PROOF_INVALID: entry(
    401,
    "The proof of possession is not valid.",
    "Send one DPoP header made for this request, with the key that the token is bound to.",
  ),
  IDENTITY_PROOF_STALE: entry(
    401,
    "The proof of possession is not fresh.",
    "Make a new one, with the nonce of this answer's DPoP-Nonce header.",
  ),
  IDENTITY_APPROVAL_REQUIRED: entry(
    403,
    "A person has to approve this first.",
    "Ask for a token for this secret, and wait until its approval is granted.",
  ),
  IDENTITY_APPROVAL_DECIDED: entry(
    409,
    "The approval is decided already.",
    "See who decided and how: sidekey approval list.",
  ),
  IDENTITY_APPROVAL_LIMIT: entry(
    429,
    "This agent has too many requests open.",
    "Wait until an operator has decided some of them.",
    60,
  ),
  IDENTITY_AGENT_EXISTS: entry(409, "There is an agent of this name.", "Choose another name, or revoke that one."),
  IDENTITY_AGENT_UNKNOWN: entry(404, "There is no such agent.", "List what there is: sidekey agent list."),
  IDENTITY_LAST_OPERATOR: entry(
    409,
    "This is the last operator, and nobody could follow it.",
    "Make another one first: sidekey agent create NAME --operator.",
  ),
  IDENTITY_SIDECAR_UNKNOWN: entry(404, "There is no such sidecar.", "List what there is: sidekey sidecar list."),
  IDENTITY_SIDECAR_REVOKED: entry(
    403,
    "This sidecar's key was revoked.",
    "Give the sidecar a new key (remove its identity.key), then enrol that.",
  ),
  IDENTITY_SIDECAR_LIMIT: entry(
    409,
    "This agent has as many sidecars as it may have.",
    "Revoke those that are gone (sidekey sidecar revoke), or raise limits.sidecars_per_agent of vault.yaml.",
  ),
  VAULT_APPROVAL_UNKNOWN: entry(404, "There is no such approval.", "List what there is: sidekey approval list."),
  POLICY_NO_ROUTE: entry(
    403,
    "No route of this sidecar matches the request.",
    "Add a route to sidekey.yaml, or call a routed host.",
  ),
  POLICY_DENIED: entry(403, "The route denies this request.", "See the route's 'match' and 'deny' in sidekey.yaml."),
  POLICY_ADDRESS: entry(
    403,
    "The name leads to an address that is closed.",
    "Private and special addresses are closed unless 'egress.allow' opens them.",
  ),
  POLICY_CLEARTEXT: entry(
    403,
    "What this request carries would cross a network in cleartext HTTP.",
    "Use https, by CONNECT, or write 'cleartext: true' on a route to an address in 'egress.allow'.",
  ),
  POLICY_SECRET_HOST: entry(
    403,
    "The secret is bound to other hosts.",
    "Bind it with: sidekey secret set PATH --host HOST.",
  ),
  POLICY_LOOP: entry(508, "The request would come back to this sidecar.", "Point the client at the real host."),
  SOURCE_SECRET_MISSING: entry(
    503,
    "The secret of this route does not exist.",
    'Store it: printf %s "$KEY" | sidekey secret set PATH.',
  ),
  SOURCE_UNAVAILABLE: entry(503, "The secret source does not answer.", "Try again later; see the sidecar's log.", 2),
  SOURCE_FORBIDDEN: entry(
    503,
    "The secret source refuses the sidecar.",
    "See the sidecar's log for the source and its answer.",
  ),
  SOURCE_BAD_VALUE: entry(
    503,
    "The secret cannot be used as a credential.",
    "It is empty, has control characters, lacks the field, or does not fit its place (a path, a cookie); store it again.",
  ),
  INJECT_PLACEHOLDER_MISPLACED: entry(
    403,
    "A placeholder stands where the route does not allow it.",
    "It may stand once, in one of the places of its route's 'in'.",
  ),
  UPSTREAM_UNREACHABLE: entry(
    502,
    "The upstream cannot be reached.",
    "See the sidecar's log for the cause; 'run' has it in sidekey.log, beside the audit.",
  ),
  UPSTREAM_RESET: entry(502, "The upstream closed the connection before it answered.", "Try again."),
  UPSTREAM_BAD_RESPONSE: entry(502, "The upstream's answer is not valid HTTP.", "See the sidecar's log for the cause."),
  UPSTREAM_UNDECODABLE: entry(
    502,
    "The upstream's answer cannot be inspected and was withheld.",
    "Ask for another content coding.",
  ),
  UPSTREAM_REFLECTED: entry(
    502,
    "The upstream's answer held the credential and was withheld.",
    "See 'on_reflection' of the route.",
  ),
  UPSTREAM_TIMEOUT: entry(504, "The upstream did not answer in time.", "Try again, or raise the route's 'timeouts'."),
  TLS_UPSTREAM_UNTRUSTED: entry(
    502,
    "The upstream's certificate is not trusted.",
    "Add its issuer with 'upstream.ca'.",
  ),
  TLS_CA_UNUSABLE: entry(
    503,
    "The sidecar's CA cannot be used.",
    "See the sidecar's log, and the mode and owner of ca.pem and ca.key.",
  ),
  AUDIT_UNAVAILABLE: entry(
    503,
    "The audit record cannot be written, so nothing was sent.",
    "Free space or repair the audit file.",
    1,
  ),
  OVERLOADED: entry(503, "The sidecar is at its limit.", "Try again shortly.", 1),
  DRAINING: entry(503, "The sidecar is stopping.", "Try again shortly.", 1),
  INTERNAL: entry(500, "The sidecar failed.", "See the sidecar's log with this request id."),

  // Told to the operator only, never to an agent.
  CONFIG_INVALID: entry(500, "The configuration has problems.", "Run: sidekey check"),
  CONFIG_UNREADABLE: entry(500, "The configuration file cannot be read.", "Check the path and its mode."),
  CONFIG_NOT_RUNNING: entry(500, "No sidecar answers for this file.", "Start one: sidekey start."),
  CONFIG_USAGE: entry(500, "The command is not used as it should be.", "Run it with --help."),
  VAULT_KEY_UNREADABLE: entry(500, "The vault's key cannot be read.", "Check the key file or FERNET_SECRET_KEY."),
  VAULT_KEY_WRONG: entry(500, "The vault's key does not open its records.", "Use the key the vault was made with."),
  VAULT_KEY_UNWRITABLE: entry(
    500,
    "The vault's key file cannot be replaced.",
    "Check its directory's owner, mode and free space, then run the command again.",
  ),
  VAULT_STORE_DAMAGED: entry(
    500,
    "The vault's store is damaged.",
    "Stop what uses it, then: sidekey vault restore FILE --replace. The damaged one is kept aside.",
  ),
  VAULT_STORE_BUSY: entry(500, "The vault's store cannot be opened.", "Check the directory, its owner and its mode."),
  VAULT_SECRET_MISSING: entry(500, "There is no such secret.", "List what there is: sidekey secret list."),
  VAULT_SECRET_EXPIRED: entry(
    500,
    "The secret's time is over.",
    "Give it a new value: sidekey secret set PATH, or secret rotate PATH.",
  ),
  VAULT_PATH_TAKEN: entry(
    500,
    "This path is in use.",
    "A path is one secret, or a namespace with secrets in it; choose another, or remove what is there.",
  ),
  VAULT_BACKEND_UNAVAILABLE: entry(
    500,
    "Values that are kept in another vault cannot be read by this version.",
    "Store the value here, or let the sidecar read it with a source of that kind.",
  ),
  VAULT_BAD_PATH: entry(
    500,
    "This is not a secret path.",
    "Use two or more segments of letters, digits, '.', '_' or '-', like production/x/key.",
  ),
  VAULT_BAD_VALUE: entry(
    500,
    "The value cannot be a secret.",
    "Give 1 byte to 64 KiB on standard input, without control characters.",
  ),
  VAULT_STORE_EXISTS: entry(
    500,
    "There is a vault already.",
    "Use it as it is, or choose another place: 'state' or the source's 'path' in sidekey.yaml.",
  ),
  VAULT_BACKUP_FAILED: entry(
    500,
    "The backup cannot be written; what was in its place is unchanged.",
    "Free space, or choose a directory that you may write in.",
  ),
  VAULT_BAD_BACKUP: entry(
    500,
    "This is no backup that can be restored; nothing was changed.",
    "Take another one; each is written by: sidekey vault backup FILE.",
  ),
  VAULT_BAD_IMPORT: entry(
    500,
    "This file cannot be imported as it is; nothing was stored.",
    "Mend the lines named, or leave them out.",
  ),
  VAULT_BAD_METADATA: entry(
    500,
    "This cannot be said about a secret.",
    "A host is a name or an address without a port; a type or tier is a short word; an end is a time to come.",
  ),
  VAULT_SERVER_BAD_REQUEST: entry(
    400,
    "The request to the vault is not one of its calls.",
    "See /v1/openapi.json for what a call takes.",
  ),
  VAULT_SERVER_NOT_FOUND: entry(404, "The vault has nothing under this path.", "See /v1/openapi.json for its calls."),
  VAULT_SERVER_METHOD: entry(405, "The vault has no such method under this path.", "See the Allow header."),
  VAULT_SERVER_TOO_LARGE: entry(413, "The body is larger than the vault takes.", "Send less, or raise 'limits.body'."),
  VAULT_SERVER_MEDIA_TYPE: entry(415, "The vault takes JSON and nothing else.", "Send content-type: application/json."),
  VAULT_SERVER_RATE_LIMITED: entry(429, "Too many requests to the vault.", "Wait as long as Retry-After says.", 1),
  VAULT_IDEMPOTENCY_REUSED: entry(
    422,
    "This Idempotency-Key came with another request before.",
    "Make a new key for each request, and repeat it with the same request alone.",
  ),
  VAULT_IDEMPOTENCY_UNSETTLED: entry(
    409,
    "A request with this Idempotency-Key was begun, and its answer is not known.",
    "Ask again shortly; then look at what was done before you make it anew under another key.",
    1,
  ),
  VAULT_SERVER_TLS: entry(
    500,
    "The certificate of the vault's server cannot be used.",
    "See 'tls' in vault.yaml: PEM files of a certificate and its own key, which this user can read.",
  ),
  VAULT_SERVER_NO_OPERATOR: entry(
    500,
    "There is no vault here that an operator has a key for, so nobody could use the server.",
    "Make one: sidekey vault init; or, where there are secrets already: sidekey agent create NAME --operator.",
  ),
  IDENTITY_TOKEN_INVALID: entry(
    500,
    "The token is not one of this vault's.",
    "Issue one: sidekey token issue --scope 'secrets:use:PATH'.",
  ),
  IDENTITY_KEY_UNREADABLE: entry(
    500,
    "The sidecar's own key cannot be read.",
    "Check identity.key in the state directory, its owner and its mode.",
  ),
  IDENTITY_BAD_SCOPE: entry(
    500,
    "The scope is not valid.",
    "Write it as secrets:ACTION:GLOB, for example secrets:use:production/*.",
  ),
  CLIENT_BAD_ADDRESS: entry(500, "This is no address to call a vault at.", "Give https://HOST:PORT."),
  CLIENT_UNREACHABLE: entry(
    500,
    "The vault cannot be reached.",
    "Check that it is up and that the address is its own.",
  ),
  CLIENT_BAD_ANSWER: entry(500, "The vault's answer cannot be used.", "Check that the address is a vault's."),
  CLIENT_UNAVAILABLE: entry(500, "The vault cannot do its work now.", "Try again later; see the vault's log."),
  CLIENT_UNAUTHORIZED: entry(
    500,
    "The vault does not take this key or token.",
    "Check which one is given; it may be expired or revoked, or belong to another vault.",
  ),
  CLIENT_SCOPE_DENIED: entry(
    500,
    "The key or token does not allow this.",
    "Use one whose scope covers it; an operator sees them with: sidekey token list, sidekey agent list.",
  ),
  CLIENT_APPROVAL_REQUIRED: entry(
    500,
    "A person has to approve this first.",
    "An operator decides with: sidekey approval list, sidekey approval approve ID. Then ask again.",
  ),
  CLIENT_SECRET_MISSING: entry(
    500,
    "The vault has no such secret.",
    "List what there is: sidekey secret list --vault URL.",
  ),
  CLIENT_SECRET_EXPIRED: entry(500, "The secret has expired.", "Rotate it, or store it with a later end."),
  CLIENT_NOT_FOUND: entry(500, "The vault does not know this.", "List what there is, and check the spelling."),
  CLIENT_CONFLICT: entry(500, "The vault has this already, or something in its place.", "Choose another name."),
  CLIENT_REFUSED: entry(500, "The vault refuses the request as it is.", "Mend what is named."),
  CLIENT_RATE_LIMITED: entry(500, "The vault asks to be called less often.", "Wait, then try again."),
  AUDIT_LOCKED: entry(
    500,
    "Another process writes this audit file.",
    "Stop it, or give this one its own 'state' or 'audit.path'.",
  ),
  AUDIT_KEY_UNREADABLE: entry(
    500,
    "The audit key cannot be read.",
    "Put back the key the log was made with. Where it is lost, move its logs and their .head away, and new ones begin.",
  ),
  AUDIT_UNREADABLE: entry(500, "The audit log cannot be read.", "Run it as the user that sidekey runs as."),
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERROR_TABLE;

export interface SidekeyErrorOptions {
  /** Operator-facing words: where, and which. Never a secret value. */
  readonly detail?: string;
  /** Operator-facing next step, where it can be better than the table's. */
  readonly hint?: string;
  /** For `Retry-After`, where more is known than the table says. `s` */
  readonly retryAfter?: number;
  readonly cause?: unknown;
}

/** The one error class. `message` is `CODE: sentence`, with `detail` behind it when there is one. */
export class SidekeyError extends Error {
  readonly code: ErrorCode;
  readonly detail: string | undefined;
  readonly hint: string;
  /** For `Retry-After`, where more is known than the table says. `s` */
  readonly retryAfter: number | undefined;

  constructor(code: ErrorCode, options: SidekeyErrorOptions = {}) {
    const { message, hint } = ERROR_TABLE[code];
    super(
      options.detail === undefined ? `${code}: ${message}` : `${code}: ${message} ${options.detail}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.name = "SidekeyError";
    this.code = code;
    this.detail = options.detail;
    this.hint = options.hint ?? hint;
    this.retryAfter = options.retryAfter;
  }

  /** HTTP status of the refusal. */
  get status(): number {
    return ERROR_TABLE[this.code].status;
  }

  /** The sentence an agent may read. */
  get publicMessage(): string {
    return ERROR_TABLE[this.code].message;
  }
}

export const isSidekeyError = (value: unknown): value is SidekeyError => value instanceof SidekeyError;

/** A `SidekeyError` stays as it is; anything else is a programming mistake and becomes INTERNAL. */
export const toSidekeyError = (value: unknown): SidekeyError =>
  isSidekeyError(value) ? value : new SidekeyError("INTERNAL", { cause: value });
