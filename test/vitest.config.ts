import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

// What only has to come true at last gets time on a busy machine; a test that promises a time gives its own.
const expectation = { poll: { timeout: 10_000 } };

const project = (name: string, testTimeout: number, globalSetup: string[] = []) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout,
    hookTimeout: 60_000,
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
      project("unit", 10_000),
      project("conformance", 20_000),
      project("integration", 30_000),
      // They run the built program.
      project("security", 30_000, ["test/support/build.ts"]),
      project("e2e", 60_000, ["test/support/build.ts"]),
    ],
  },
});
