/** The kinds of secret sources. One more is one file and one line here. */
import { env } from "./env.ts";
import { exec } from "./exec.ts";
import { file } from "./file.ts";
import { local } from "./local.ts";
import { sidekey } from "./sidekey.ts";

export const sourceKinds = [local, file, env, exec, sidekey] as const;
