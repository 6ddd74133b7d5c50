/** Clients that are programs of their own: curl, wget, git. */
import type { Client } from "./client.ts";

export const curl: Client = {
  name: "curl",
  program: "curl",
  version: ["--version"],
  attempts: ({ url }) => [{ args: ["-sS", "--fail", "--max-time", "15", url] }],
};

/** Built with GnuTLS, as Debian does, it reads no variable for its CAs. */
export const wget: Client = {
  name: "wget",
  program: "wget",
  version: ["--version"],
  attempts: ({ url, bundle }) => {
    // No file in the home directory for HSTS.
    const args = ["-q", "-O", "-", "--no-hsts", "--tries=1", "--timeout=15"];
    return [
      { args: [...args, url] },
      {
        needs: 'wget --ca-certificate="$SSL_CERT_FILE", or a line ca_certificate = FILE in ~/.wgetrc',
        args: [...args, `--ca-certificate=${bundle}`, url],
      },
    ];
  },
};

export const git: Client = {
  name: "git",
  program: "git",
  version: ["--version"],
  attempts: ({ url }) => [
    {
      args: ["-c", "credential.helper=", "ls-remote", `${url}.git`],
      environment: { GIT_TERMINAL_PROMPT: "0" },
    },
  ],
};
