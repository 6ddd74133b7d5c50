/** What a backup holds, in words. */
import type { Backup } from "../../vault/index.ts";

/** `3 secrets`, `1 secret and 2 agents`. */
export const backupWords = ({ secrets, agents }: Pick<Backup, "secrets" | "agents">): string => {
  const words = counted(secrets, "secret");
  return agents === 0 ? words : `${words} and ${counted(agents, "agent")}`;
};

const counted = (count: number, word: string): string => `${count} ${word}${count === 1 ? "" : "s"}`;
