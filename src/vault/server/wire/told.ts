/** What a caller may say about a request, in fields and headers of its own. */
import * as z from "zod";

/** Who a caller says it acts for, and why: for the audit. */
export const toldFields = {
  agent_name: z.string().max(256).optional().describe("For the audit; as the header X-Agent-Name."),
  reason: z.string().max(1024).optional().describe("For the audit; as the header X-Reason."),
};

const idempotencyKey = z
  .string()
  .regex(/^[!-~]{1,256}$/)
  .optional();

export const toldHeaders = z.looseObject({
  "x-agent-name": z.string().max(256).optional().describe("For the audit: who the caller acts for."),
  "x-reason": z.string().max(1024).optional().describe("For the audit: why."),
  "idempotency-key": idempotencyKey.describe(
    "The same one for the same request within 60 s spends one use of the token, and is answered with the same version.",
  ),
});

/** Of a call that changes something. */
export const changeHeaders = z.looseObject({
  "idempotency-key": idempotencyKey.describe(
    "The same one for the same request of the same caller within 60 s gets the same answer, and changes nothing more.",
  ),
});
