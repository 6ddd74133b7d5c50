/** The calls of the API, by resource. One more resource is one file and one line here. */
import type { Call } from "../call.ts";
import type { ApiContext } from "../context.ts";
import { auditCalls } from "./audit.ts";
import { healthCalls } from "./health.ts";
import { secretCalls } from "./secrets.ts";

const RESOURCES: readonly ((context: ApiContext) => readonly Call[])[] = [healthCalls, secretCalls, auditCalls];

export const createCalls = (context: ApiContext): readonly Call[] => RESOURCES.flatMap((calls) => calls(context));
