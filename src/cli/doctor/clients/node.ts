/** Node.js: its own fetch, and axios where the person's project has it. */
import { type Client, EXIT_ABSENT, IGNORED_PROXY, type Place } from "./client.ts";

/**
 * Looks nothing up: a client that ignores the proxy fails at once, and says so. Node's own modules ask this object for
 * `lookup` at each connection.
 */
const prologue = ({ host }: Place): string => `
const dns = require("node:dns");
const { lookup } = dns;
dns.lookup = (name, ...rest) => {
  if (name !== ${JSON.stringify(host)}) return lookup(name, ...rest);
  rest.at(-1)(Object.assign(new Error("${IGNORED_PROXY}"), { code: "${IGNORED_PROXY}" }));
};
const failed = (error) => {
  for (let at = error; at; at = at.cause) console.error(at.code ?? "", at.message);
  process.exit(1);
};
`;

export const nodeFetch: Client = {
  name: "node-fetch",
  program: "node",
  version: ["--version"],
  attempts: (place) => [
    {
      args: [
        "-e",
        `${prologue(place)}
fetch(${JSON.stringify(place.url)}).then((r) => r.ok || process.exit(1), failed);`,
      ],
    },
  ],
};

export const axios: Client = {
  name: "axios",
  program: "node",
  version: ["--version"],
  attempts: (place) => [
    {
      args: [
        "-e",
        `${prologue(place)}
let axios;
try {
  axios = require("node:module").createRequire(${JSON.stringify(`${place.directory}/`)})("axios");
} catch {
  process.exit(${EXIT_ABSENT});
}
console.log("version", axios.VERSION);
(axios.default ?? axios).get(${JSON.stringify(place.url)}).then(() => {}, failed);`,
      ],
    },
  ],
};
