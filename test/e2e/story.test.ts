/** Types test/support/story.ts, line by line, into the built program, and looks at all that it writes. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Api, CANARY, CANARY_FORMS, createApi } from "../support/api.ts";
import { type Finished, type Running, startSidekey } from "../support/program.ts";
import { type Line, SECOND_VALUE, STORY } from "../support/story.ts";

let api: Api;
let running: Running | undefined;
/** What an earlier line printed and a later one takes. */
let token = "";
beforeAll(async () => {
  api = await createApi(undefined, 'tests: [{ request: "GET https://api.example.test/v1/models", expect: api }]\n');
  api.work.write("keys.env", "SOME_API_KEY=sk-imported-7c1e5d2b90\n");
});
afterAll(async () => {
  await running?.stop();
  await api.close();
});

const filledIn = (word: string): string => {
  if (word === "TOKEN") return token;
  if (word !== "TOKEN_ID") return word;
  const claims: { jti: string } = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
  return claims.jti;
};

const type = async ({ command, args = [], input = "" }: Line): Promise<Finished> => {
  if (command === "start") {
    running = await startSidekey(args, { cwd: api.work.path });
    return { code: 0, stdout: `sidekey ready ${JSON.stringify(running.ready)}\n`, stderr: "" };
  }
  const finished = await api.work.sidekey([...command.split(" "), ...args.map(filledIn)], { input: filledIn(input) });
  if (command === "token issue") token = finished.stdout.trim();
  return finished;
};

describe("sidekey", () => {
  it.each(STORY)("$command", async (line) => {
    const { command, code = 0, prints = /^$/, says = /^$/ } = line;
    if (line.running !== true && running !== undefined) {
      expect((await running.stop()).code).toBe(0);
      running = undefined;
    }
    const finished = await type(line);
    expect(finished.stderr).toMatch(says);
    expect(finished.stdout).toMatch(prints);
    expect(finished.code).toBe(code);
    for (const form of CANARY_FORMS) expect(finished.stdout + finished.stderr).not.toContain(form);
    if (command !== "secret get") expect(finished.stdout + finished.stderr).not.toContain(SECOND_VALUE);
  });

  it("gave the key to the upstream and to nobody else", () => {
    expect(api.upstream.requests.map((request) => request.header("authorization"))).toEqual([[`Bearer ${CANARY}`]]);
  });
});
