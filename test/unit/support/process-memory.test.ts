/** The look into another process's memory, on one whose memory is known. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { platform } from "node:process";
import { expect, it } from "vitest";
import { scanMemory } from "../../support/process-memory.ts";

it.skipIf(platform !== "linux")(
  "finds what a process holds, and nothing else (skipped where there is no /proc)",
  async () => {
    const parts = Array.from({ length: 3 }, () => randomBytes(16).toString("hex"));
    const [whole = "", other = "", never = ""] = parts;
    // Put together there: the halves in its arguments are none of them. One in a large buffer, one as text.
    const program = `
    const [a, b, c, d] = process.argv.slice(1);
    const large = Buffer.alloc(5 * 1024 * 1024);
    large.write(a + b, 3 * 1024 * 1024 - 5);
    const text = [c, d].join("");
    process.stdout.write("ready");
    process.stdin.on("data", () => process.exit(large.length + text.length > 0 ? 0 : 1));`;
    const halves = [whole, other].flatMap((text) => [text.slice(0, 16), text.slice(16)]);
    const child = spawn(process.execPath, ["-e", program, ...halves], { stdio: ["pipe", "pipe", "inherit"] });
    try {
      await once(child.stdout, "data");
      const { found, bytes } = scanMemory(child.pid ?? 0, [whole, other, never]);
      expect([...found].sort()).toEqual([whole, other].sort());
      expect(bytes).toBeGreaterThan(5 * 1024 * 1024);
    } finally {
      child.kill("SIGKILL");
    }
  },
);
