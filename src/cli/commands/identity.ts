/** `identity`: the thumbprint of the sidecar's key, for enrolling it at a vault. The key itself never leaves its file. */
import { join } from "node:path";
import { prepareStateDirectory } from "../../core/state-directory.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { loadConfigOrDefaults } from "../context.ts";
import { EXIT_OK } from "../exit.ts";

export const identity: CommandSpec = {
  name: "identity",
  summary: "print the thumbprint of the sidecar's own key, by which a vault knows it",
  options: [CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey identity", "sidekey identity --json   # with the public key, as a JWK"],
  async run(invocation) {
    const { options, terminal } = invocation;
    const { state } = await loadConfigOrDefaults(invocation);
    prepareStateDirectory(state);
    const { openSidecarKey, SIDECAR_KEY_FILE } = await import("../../identity/sidecar-key.ts");
    const path = join(state, SIDECAR_KEY_FILE);
    const { publicJwk, thumbprint } = await openSidecarKey(path);
    if (options.flag("json")) terminal.printJson({ thumbprint, jwk: publicJwk, path });
    else terminal.print(thumbprint);
    return EXIT_OK;
  },
};
