/** `ca export`: what clients of `start` must trust, as files to mount or to copy. The key is never read. */
import { resolve } from "node:path";
import { publishedExtra, readTrustedPem } from "../ca-files.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { loadConfigOrDefaults } from "../context.ts";
import { EXIT_OK } from "../exit.ts";

export const caExport: CommandSpec = {
  name: "ca export",
  summary: "write ca.pem and ca-bundle.pem to a directory that agents can read",
  parameters: [{ syntax: "<directory>", summary: "made when it is not there" }],
  options: [CONFIG_OPTION, JSON_OPTION],
  examples: [
    "sidekey ca export /srv/sidekey-ca",
    "docker run -v /srv/sidekey-ca:/ca:ro -e NODE_EXTRA_CA_CERTS=/ca/ca.pem -e SSL_CERT_FILE=/ca/ca-bundle.pem …",
  ],
  async run(invocation) {
    const { options, parameters, terminal, directory } = invocation;
    const config = await loadConfigOrDefaults(invocation);
    const { pem } = readTrustedPem(config.state);
    const { writeTrustFiles } = await import("../../sidecar/tls/trust-files.ts");
    const to = resolve(directory, parameters[0] ?? "");
    const files = await writeTrustFiles(to, pem, await publishedExtra(config));
    if (options.flag("json")) terminal.printJson(files);
    else terminal.print(`${files.ca}\n${files.bundle}`);
    return EXIT_OK;
  },
};
