/** The audit sinks there are: one line each. */
import { fileSink } from "./file.ts";

export const AUDIT_SINKS = [fileSink] as const;
