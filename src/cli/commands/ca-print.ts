/** `ca print`: the certificates that clients of `start` must trust. They are public; their keys are never read. */
import { describeCertificate, readTrustedPem } from "../ca-files.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { loadConfigOrDefaults } from "../context.ts";
import { EXIT_OK } from "../exit.ts";

export const caPrint: CommandSpec = {
  name: "ca print",
  summary: "print the CA that clients must trust: the one that signs, and the next",
  options: [CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey ca print > sidekey-ca.pem", "curl --cacert .sidekey/ca.pem -x http://127.0.0.1:7070 https://…"],
  async run(invocation) {
    const { options, terminal } = invocation;
    const { state } = await loadConfigOrDefaults(invocation);
    const { path, pem, certificates } = readTrustedPem(state);
    const [current, ...others] = certificates.map(describeCertificate);
    if (options.flag("json")) terminal.printJson({ path, ...current, others, pem });
    else terminal.print(pem.trimEnd());
    return EXIT_OK;
  },
};
