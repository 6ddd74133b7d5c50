/** What a reload refuses because it cannot change while the sidecar runs. */
import { describe, expect, it } from "vitest";
import { loadConfig, type SidecarConfig } from "../../../../../src/sidecar/app/config/config.ts";

const load = (text: string, running?: SidecarConfig) => loadConfig({ file: "/srv/sidekey.yaml", text, running });

const pathsOf = (before: string, after: string): readonly string[] => {
  const first = load(`version: 1\n${before}`);
  if ("problems" in first) throw new Error(JSON.stringify(first.problems));
  const next = load(`version: 1\n${after}`, first.config);
  return "problems" in next ? next.problems.map(({ path }) => path) : [];
};

describe("a reload", () => {
  it.each([
    ["tls: { export: ./ca }\n", "", ["tls.export"]],
    ["", "tls: { export: ./ca }\n", ["tls.export"]],
    ["tls: { export: ./ca }\n", "tls: { export: ./other, ca_days: 9 }\n", ["tls.export", "tls.ca_days"]],
    ["listen: { gateway: 127.0.0.1:7071 }\n", "", ["listen.gateway"]],
    ["audit: { max_size: 1MiB }\n", "audit: { max_size: 2MiB }\n", ["audit.max_size"]],
    ["state: ./a\n", "state: ./b\n", ["state"]],
    ["agent: a\n", "", ["agent"]],
  ])("from %j to %j is refused for what changes, and for nothing else", (before, after, paths) => {
    expect([...pathsOf(before, after)].sort()).toEqual([...paths].sort());
  });

  it("of the same, in other words, is fine", () => {
    expect(
      pathsOf("", "agent: default\nlisten: { gateway: 'off' }\nstate: /srv/.sidekey\nlog: { level: debug }\n"),
    ).toEqual([]);
  });

  it.each([
    ["listen: { gateway: 127.0.0.1:7071 }\n", "listen: 5\n", ["listen"]],
    ["listen: { gateway: 127.0.0.1:7071 }\n", "listen: { gateway: 127.0.0.1:7071, proxy: x }\n", ["listen.proxy"]],
    ["tls: { ca_days: 9 }\n", "tls: { ca_days: soon }\nagent: b\n", ["tls.ca_days", "agent"]],
  ])("from %j to %j says nothing of a change where something is wrong", (before, after, paths) => {
    expect([...pathsOf(before, after)].sort()).toEqual([...paths].sort());
  });

  it.each(["", "[]\n", "# nothing\n"])("of the whole file, %j, says no more than that", (text) => {
    const first = load("version: 1\nagent: a\nlisten: { gateway: 127.0.0.1:7071 }\n");
    if ("problems" in first) throw new Error(JSON.stringify(first.problems));
    const next = load(text, first.config);
    expect("problems" in next && next.problems.map(({ path }) => path)).toEqual([""]);
  });
});
