import { describe, expect, it } from "vitest";
import { formatRecord } from "../../../../src/cli/audit/line.ts";

describe("formatRecord", () => {
  it("shows when, who, what, to where and how it ended, in one line", () => {
    const record = {
      seq: 7,
      time: "2025-11-25T14:00:00.000Z",
      type: "outcome",
      request_id: "r",
      agent: "researcher",
      route: "openai",
      secret: "local:production/openai/api-key",
      method: "POST",
      scheme: "https",
      authority: "api.openai.com:443",
      path: "/v1/chat",
      decision: "inject",
      status: 200,
      outcome: "ok",
      prev: "A",
      hash: "B",
    };
    expect(formatRecord(JSON.stringify(record))).toBe(
      "2025-11-25T14:00:00.000Z  researcher  outcome  inject  POST  api.openai.com:443/v1/chat  openai  " +
        "local:production/openai/api-key  200  ok  r",
    );
  });

  it("shows what happened in a vault, by whom, from where and for whom", () => {
    const record = {
      time: "T",
      type: "secret",
      event: "secret.read",
      request_id: "r",
      agent: "researcher",
      actor: "t1",
      actor_type: "token",
      ip: "192.0.2.7",
      agent_name: "planner",
      secret: "production/tavily/api-key",
      outcome: "ok",
      reason: "web search",
    };
    expect(formatRecord(JSON.stringify(record))).toBe(
      "T  researcher  secret   secret.read  production/tavily/api-key  t1  192.0.2.7  planner  ok  web search  r",
    );
  });

  it("leaves out what a record does not have", () => {
    expect(formatRecord('{"seq":1,"time":"T","type":"start","agent":"a"}')).toBe("T  a  start");
  });

  it.each(['{"seq":1', "[1]x", "plain"])("shows %s, which is no record, as it is", (line) => {
    expect(formatRecord(line)).toBe(line);
  });

  it("lets nothing that an agent sent steer the terminal", () => {
    const line = formatRecord('{"time":"T","type":"intent","agent":"a","path":"/\\u001b[2J\\u009b1A\\r\\n"}');
    expect(line).toContain("/\\x1b[2J\\x9b1A\\x0d\\x0a");
  });

  it("shows what turns text around, hides in it or is half a character by its number", () => {
    const line = formatRecord(
      '{"time":"T","type":"intent","path":"/\\u202egpj\\u200b\\u2066x\\u2028\\ud800\\udb40\\udc41é"}',
    );
    expect(line).toContain("/\\u{202e}gpj\\u{200b}\\u{2066}x\\u{2028}\\u{d800}\\u{e0041}é");
  });
});
