/** What to type where there is nothing yet. One place, so that every answer to "what now" is the same and is tested. */

/** A file, a secret, a program: each a whole line for a shell. */
export const FIRST_STEPS: readonly string[] = [
  "sidekey init",
  'printf %s "$OPENAI_API_KEY" | sidekey secret set production/openai/api-key --host api.openai.com',
  "sidekey run -- python agent.py",
];

/** The steps, indented, below a sentence. */
export const firstSteps = (sentence: string): string =>
  [sentence, "", ...FIRST_STEPS.map((line) => `    ${line}`)].join("\n");

export const NO_FILE_HINT = firstSteps(
  "Type these three lines ('sidekey init --from .env' takes the keys of a .env file along), or name a file with -c FILE:",
);
