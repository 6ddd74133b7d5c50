/** The audit's lines, part by part: all of them in their order, or an error. */
import { afterEach, describe, expect, it } from "vitest";
import { type RawVault, startRawVault } from "../../support/vault/raw-vault.ts";
import { failureOf, OPERATOR_KEY, quickVault, VALUE } from "./support.ts";

let raw: RawVault;
afterEach(() => raw?.close());

const line = (seq: number): string => JSON.stringify({ seq, event: "secret.read" });
const answer = (text: string, type = "application/x-ndjson"): string =>
  `HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;

const collect = async (answers: readonly string[], after?: number): Promise<readonly string[]> => {
  raw = await startRawVault((socket, _request, count) => void socket.write(answers[count - 1] ?? answer("")));
  const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY });
  const lines: string[] = [];
  for await (const one of vault.auditLines(after === undefined ? {} : { after })) lines.push(one);
  return lines;
};

describe("the audit's lines", () => {
  it("come part by part, each behind the last, until one is not full", async () => {
    const first = Array.from({ length: 1000 }, (_, at) => line(at + 5));
    const rest = [line(2000), line(2001)];
    const lines = await collect([answer(`${first.join("\n")}\n`), answer(`${rest.join("\n")}\n`)], 4);
    expect(lines).toEqual([...first, ...rest]);
    expect(raw.requests.map((request) => request.split(" ")[1])).toEqual([
      "/v1/audit/export?after=4&limit=1000",
      "/v1/audit/export?after=1004&limit=1000",
    ]);
  });

  it("may be none", async () => {
    expect(await collect([answer("")])).toEqual([]);
  });

  it.each<[string, string]>([
    ["are told again", answer(`${line(7)}\n${line(7)}\n`)],
    ["go back", answer(`${line(8)}\n${line(7)}\n`)],
    ["begin before what was asked for", answer(`${line(4)}\n`)],
    ["are none of an audit", answer(`{"value":"${VALUE}"}\n`)],
    ["are no JSON", answer(`${VALUE}\n`)],
    ["end within a line", answer(`${line(7)}\n${line(8)}`)],
    ["come as a page of HTML", answer("<html></html>\n", "text/html")],
  ])("are refused when they %s", async (_name, bad) => {
    expect(await failureOf(collect([bad], 4))).toMatchObject({ name: "BadAnswerError" });
  });
});
