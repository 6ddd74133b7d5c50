/** A git server: `git http-backend` behind the stand-in, over repositories below one directory. */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Call, Upstream } from "./stand-in.ts";

const ENVIRONMENT = {
  PATH: process.env["PATH"] ?? "",
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_AUTHOR_NAME: "Upstream",
  GIT_AUTHOR_EMAIL: "upstream@example.test",
  GIT_COMMITTER_NAME: "Upstream",
  GIT_COMMITTER_EMAIL: "upstream@example.test",
};

const git = (directory: string, ...args: readonly string[]): string =>
  execFileSync("git", ["-C", directory, ...args], { env: ENVIRONMENT, encoding: "utf8", stdio: "pipe" });

/** `project.git` with one commit. */
export const makeRepository = (root: string): string => {
  const seed = join(root, "seed");
  mkdirSync(seed, { recursive: true });
  git(seed, "init", "-q", "-b", "main");
  writeFileSync(join(seed, "README"), "the project\n");
  git(seed, "add", "README");
  git(seed, "commit", "-q", "-m", "first");
  const bare = join(root, "project.git");
  git(root, "clone", "-q", "--bare", seed, bare);
  git(bare, "config", "http.receivepack", "true");
  return bare;
};

export const headOf = (repository: string): string => git(repository, "rev-parse", "main").trim();

/** Takes the last commit back, so that no later clone brings what was in it. */
export const dropLast = (repository: string): void => void git(repository, "update-ref", "refs/heads/main", "main~1");

export const gitServer = (host: string, root: string, credential: string): Upstream => ({
  host,
  header: "authorization",
  credential,
  answer: (call) => httpBackend(root, call),
});

/** CGI, RFC 3875. Without CONTENT_LENGTH the program reads a chunked body to its end. */
const httpBackend = async (root: string, { request, response, url }: Call): Promise<void> => {
  const { headers, method = "GET" } = request;
  const variables: Record<string, string | undefined> = {
    ...ENVIRONMENT,
    GIT_PROJECT_ROOT: root,
    GIT_HTTP_EXPORT_ALL: "1",
    REMOTE_USER: "agent",
    REQUEST_METHOD: method,
    PATH_INFO: url.pathname,
    QUERY_STRING: url.search.slice(1),
    CONTENT_TYPE: headers["content-type"] ?? "",
    CONTENT_LENGTH: headers["content-length"],
    HTTP_CONTENT_ENCODING: headers["content-encoding"],
    HTTP_GIT_PROTOCOL: String(headers["git-protocol"] ?? ""),
  };
  const child = spawn("git", ["http-backend"], { env: variables, stdio: ["pipe", "pipe", "inherit"] });
  request.pipe(child.stdin).on("error", () => undefined);
  let head = Buffer.alloc(0);
  let isBody = false;
  for await (const chunk of child.stdout) {
    if (isBody) {
      response.write(chunk);
      continue;
    }
    head = Buffer.concat([head, chunk as Buffer]);
    const end = head.indexOf("\r\n\r\n");
    if (end === -1) continue;
    isBody = true;
    writeHead(head.subarray(0, end).toString("latin1"), response);
    response.write(head.subarray(end + 4));
  }
  response.end();
};

const writeHead = (text: string, response: Call["response"]): void => {
  for (const line of text.split("\r\n")) {
    const [, name = "", value = ""] = /^([^:]+): (.*)$/.exec(line) ?? [];
    if (name.toLowerCase() === "status") response.statusCode = Number.parseInt(value, 10);
    else response.setHeader(name, value);
  }
};
