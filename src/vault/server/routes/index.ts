/** The calls of the API, by resource. One more resource is one file and one line here. */
import type { Call } from "../call.ts";
import type { ApiContext } from "../context.ts";
import { agentCalls, sidecarCalls } from "./agents.ts";
import { approvalCalls } from "./approvals.ts";
import { auditCalls } from "./audit.ts";
import { eventCalls } from "./events.ts";
import { redeemCalls } from "./redeem.ts";
import { secretChangeCalls } from "./secret-changes.ts";
import { secretVersionCalls } from "./secret-versions.ts";
import { secretCalls } from "./secrets.ts";
import { serverCalls } from "./server.ts";
import { tokenCalls } from "./tokens.ts";

const RESOURCES: readonly ((context: ApiContext) => readonly Call[])[] = [
  serverCalls,
  tokenCalls,
  secretCalls,
  secretChangeCalls,
  secretVersionCalls,
  agentCalls,
  sidecarCalls,
  redeemCalls,
  eventCalls,
  approvalCalls,
  auditCalls,
];

export const createCalls = (context: ApiContext): readonly Call[] => RESOURCES.flatMap((calls) => calls(context));
