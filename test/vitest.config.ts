import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

// What only has to come true at last gets time on a busy machine; a test that promises a time gives its own. The same holds
// for a whole test: these limits end one that hangs, and say nothing about how fast anything is.
const expectation = { poll: { timeout: 20_000 } };

const project = (name: string, testTimeout: number, globalSetup: string[] = []) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout,
    hookTimeout: 120_000,
    globalSetup,
    expect: expectation,
  },
});

export default defineConfig({
  root: new URL("..", import.meta.url).pathname,
  test: {
    // Most suites wait more than they work; Vitest's own choice would be one at a time on two cores.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    projects: [
      project("unit", 60_000),
      project("conformance", 60_000),
      project("integration", 90_000),
      // They run the built program.
      project("security", 90_000, ["test/support/build.ts"]),
      project("e2e", 120_000, ["test/support/build.ts"]),
    ],
  },
});
