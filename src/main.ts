#!/usr/bin/env node
/** The program. Nothing is loaded before SIGUSR1 is taken from Node, which would open an inspector on it. */
process.on("SIGUSR1", () => {});
const { loadBuiltFile } = await import("./core/built-file.ts");
const { main } = loadBuiltFile(`${import.meta.dirname}/program.cjs`) as typeof import("./cli/main.ts");
await main(process.argv.slice(2));

export {};
