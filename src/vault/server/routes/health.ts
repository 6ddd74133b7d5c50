/** Whether the server can do its work. */
import * as z from "zod";
import { type Call, defineCall } from "../call.ts";
import type { ApiContext } from "../context.ts";

export const healthCalls = ({ vault, version }: ApiContext): readonly Call[] => [
  defineCall({
    method: "GET",
    path: "/v1/health",
    operationId: "getHealth",
    tag: "server",
    summary: "Whether the vault can serve",
    who: ["anyone"],
    answers: {
      200: {
        description: "It can.",
        schema: z.object({ status: z.literal("ok"), version: z.string(), service: z.literal("sidekey-vault") }),
      },
    },
    errors: ["STORE_UNAVAILABLE", "AUDIT_UNAVAILABLE"],
    async handle() {
      vault.generation();
      return { status: 200, body: { status: "ok", version, service: "sidekey-vault" } };
    },
  }),
];
