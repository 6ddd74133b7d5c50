/** `ca print`: the certificate that clients of `start` must trust. It is public; its key is never read. */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { SidekeyError } from "../../core/errors.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { loadConfigOrDefaults } from "../context.ts";
import { EXIT_OK } from "../exit.ts";

export const caPrint: CommandSpec = {
  name: "ca print",
  summary: "print the CA certificate that clients must trust",
  options: [CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey ca print > sidekey-ca.pem", "curl --cacert .sidekey/ca.pem -x http://127.0.0.1:7070 https://…"],
  async run(invocation) {
    const { options, terminal } = invocation;
    const { state } = await loadConfigOrDefaults(invocation);
    const path = join(state, "ca.pem");
    const pem = readCertificate(path);
    if (options.flag("json")) {
      const certificate = new X509Certificate(pem);
      terminal.printJson({
        path,
        subject: certificate.subject,
        sha256: certificate.fingerprint256,
        valid_from: new Date(certificate.validFrom).toISOString(),
        valid_to: new Date(certificate.validTo).toISOString(),
        pem,
      });
    } else terminal.print(pem.trimEnd());
    return EXIT_OK;
  },
};

const readCertificate = (path: string): string => {
  try {
    const pem = readFileSync(path, "utf8");
    // Parsed so that nothing but a certificate is ever printed, whatever stands in that file.
    return new X509Certificate(pem).toString();
  } catch (cause) {
    const absent = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
    throw new SidekeyError("TLS_CA_UNUSABLE", {
      detail: absent ? `There is none yet: ${path} is absent.` : `${path} cannot be read as a certificate.`,
      hint: absent
        ? "'sidekey start' makes it; 'sidekey run' makes one for each run and sets it up itself."
        : "See the file and its mode.",
      cause,
    });
  }
};
