/** `ca rotate`: the next CA becomes the one that signs. A sidecar that runs takes it up by itself. */
import type { X509Certificate } from "node:crypto";
import { statSync } from "node:fs";
import { systemClock } from "../../core/clock.ts";
import { adminEvent, onRecord } from "../audit/operator.ts";
import { describeCertificate, publishedExtra } from "../ca-files.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { loadConfigOrDefaults } from "../context.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";

export const caRotate: CommandSpec = {
  name: "ca rotate",
  summary: "let the next CA sign from now on, and make another next one",
  options: [CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey ca rotate", "sidekey ca rotate -c /etc/sidekey.yaml --json"],
  async run(invocation) {
    refuseInsideRun("ca rotate", invocation);
    const { options, terminal } = invocation;
    const config = await loadConfigOrDefaults(invocation);
    const extra = await publishedExtra(config);
    const { state, tls } = config;
    const { routedHosts } = await import("../../sidecar/app/ca.ts");
    const { rotateAuthority } = await import("../../sidecar/tls/rotation.ts");
    const { writeBundle, writeTrustFiles } = await import("../../sidecar/tls/trust-files.ts");
    const rotate = () =>
      rotateAuthority({
        directory: state,
        clock: systemClock,
        days: tls.caDays,
        permitted: tls.constrain ? routedHosts(config.routes) : undefined,
      });
    // Root may rotate for another user, but in that one's directory a log could be a link to anywhere.
    const rotation = isOwn(state)
      ? await onRecord(config, {
          events: [adminEvent("CA rotated")],
          change: rotate,
          done: ({ current }) => [adminEvent(`CA rotated to ${current.fingerprint256}`)],
        })
      : await rotate();
    const { current, next, previous, previousUntil, wasTrusted, trustedPem } = rotation;
    await writeBundle(state, trustedPem, extra);
    if (tls.export !== undefined) await writeTrustFiles(tls.export, trustedPem, extra);
    const until = new Date(previousUntil).toISOString();
    if (options.flag("json")) {
      terminal.printJson({
        current: describeCertificate(current),
        next: describeCertificate(next),
        previous: { ...describeCertificate(previous), trusted_until: until },
        trusted_before: wasTrusted,
      });
    } else {
      terminal.print(
        [
          `signs now   ${line(current)}`,
          `next        ${line(next)}`,
          `before      ${line(previous)}; trusted until ${until}`,
        ].join("\n"),
      );
    }
    terminal.note(
      wasTrusted
        ? "agents with the ca.pem or ca-bundle.pem of before go on; hand the new one out before you rotate again"
        : "agents that run now do not know this CA: hand them ca.pem or ca-bundle.pem anew",
    );
    return EXIT_OK;
  },
};

/** No when there is none: then there is nothing to rotate either. */
const isOwn = (directory: string): boolean =>
  statSync(directory, { throwIfNoEntry: false })?.uid === process.getuid?.();

const line = ({ subject, validTo }: X509Certificate): string =>
  `${subject.replace(/^CN=/, "")}, valid to ${new Date(validTo).toISOString()}`;
