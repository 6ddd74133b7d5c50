/** Where the preload of Node agents lies in the built package. */
import { packageFile } from "../../core/package.ts";

export const PRELOAD = packageFile("dist", "cli", "run", "preload.cjs");
