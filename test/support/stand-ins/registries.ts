/** Package registries with one small package each. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sendJson, type Upstream } from "./stand-in.ts";

/** Serves `tiny` 1.0.0. `root`: a directory for its tarball. */
export const npmRegistry = (host: string, root: string, key: string): Upstream => {
  const about = { name: "tiny", version: "1.0.0", main: "index.js" };
  mkdirSync(join(root, "package"), { recursive: true });
  writeFileSync(join(root, "package/package.json"), JSON.stringify(about));
  writeFileSync(join(root, "package/index.js"), 'module.exports = "tiny was here";\n');
  execFileSync("tar", ["-czf", "tiny.tgz", "package"], { cwd: root });
  const tarball = readFileSync(join(root, "tiny.tgz"));
  const integrity = `sha512-${createHash("sha512").update(tarball).digest("base64")}`;
  const dist = { tarball: `https://${host}/tiny/-/tiny-1.0.0.tgz`, integrity };
  return {
    host,
    header: "authorization",
    credential: `Bearer ${key}`,
    answer({ response, url }) {
      if (url.pathname === "/tiny") {
        return sendJson(response, {
          name: "tiny",
          "dist-tags": { latest: "1.0.0" },
          versions: { "1.0.0": { ...about, dist } },
        });
      }
      response.writeHead(200, { "content-type": "application/octet-stream", "content-length": tarball.length });
      response.end(tarball);
    },
  };
};

const WHEEL = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("tiny.py", "NAME = 'tiny was here'\\n")
    wheel.writestr("tiny-1.0.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0.0\\n")
    wheel.writestr("tiny-1.0.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr("tiny-1.0.0.dist-info/RECORD", "tiny.py,,\\ntiny-1.0.0.dist-info/METADATA,,\\ntiny-1.0.0.dist-info/WHEEL,,\\ntiny-1.0.0.dist-info/RECORD,,\\n")
`;

/** Serves `tiny` 1.0.0 by the simple API, made when first asked for: it takes Python. `root`: a directory for its wheel. */
export const pythonIndex = (host: string, root: string, credential: string): Upstream => {
  const name = "tiny-1.0.0-py3-none-any.whl";
  let wheel: Buffer | undefined;
  const make = (): Buffer => {
    mkdirSync(root, { recursive: true });
    execFileSync("python3", ["-c", WHEEL, join(root, name)]);
    return readFileSync(join(root, name));
  };
  return {
    host,
    header: "authorization",
    credential,
    answer({ response, url }) {
      wheel ??= make();
      if (url.pathname.endsWith(".whl")) return void response.writeHead(200).end(wheel);
      const hash = createHash("sha256").update(wheel).digest("hex");
      response.writeHead(200, { "content-type": "text/html" });
      response.end(`<a href="/files/${name}#sha256=${hash}">${name}</a>`);
    },
  };
};
