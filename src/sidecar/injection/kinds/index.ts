/** Every injection kind: one file and one line each. */
import { basic } from "./basic.ts";
import { bearer } from "./bearer.ts";
import { header } from "./header.ts";

export const injectionKinds = [bearer, basic, header] as const;
