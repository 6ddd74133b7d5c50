/** The `sidekey.yaml` that `init` writes: few lines, each of which says what it is for. */
import type { FoundKey } from "./recognise.ts";

const HEAD = `# Which calls get which secret. A secret is never written here, only where it is kept.
# Every key: docs/configuration.md. The providers that Sidekey knows: docs/presets.md. To see what a call would get:
#   sidekey explain GET https://api.openai.com/v1/models
version: 1

routes:
`;

const EXAMPLE_ROUTES = `  # A provider that Sidekey knows: hosts, header and variables come from its preset.
  openai: { preset: openai, secret: production/openai/api-key }

  # Any other host: every path of it, sent as "Authorization: Bearer …".
  # api.example.com: production/example/api-key

  # With more to say, the methods and paths that may be called, what is refused among them, how the secret is sent:
  # billing:
  #   match: GET,POST https://billing.example.com/v1/**
  #   deny: ["* /v1/payouts/**"]
  #   secret: production/billing/key
  #   inject: { kind: header, name: X-Api-Key }
  #   env: BILLING_API_KEY # its program finds a placeholder here
`;

const TAIL = `
# A host that no route names is refused. To let such calls pass, never with a secret:
# unmatched: tunnel
`;

/** Without keys, with an example in their place. */
export const fileText = (found: readonly FoundKey[]): string =>
  `${HEAD}${found.length === 0 ? EXAMPLE_ROUTES : `${routeLines(found).join("\n")}\n`}${TAIL}`;

/** `secretOf`: where the secret of each is kept. */
export const routeLines = (
  found: readonly FoundKey[],
  secretOf: (key: FoundKey) => string = ({ path }) => path,
): readonly string[] =>
  found.map((key) => {
    const { preset, entries, env } = key;
    const own = env === undefined ? "" : `, env: ${env}`;
    const names = entries.map(({ name }) => name).join(", ");
    return `  ${preset.name}: { preset: ${preset.name}, secret: ${secretOf(key)}${own} } # ${names}`;
  });
