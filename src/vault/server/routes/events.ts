/** The stream of changes that sidecars listen to. */
import type { ServerResponse } from "node:http";
import * as z from "zod";
import { isSidekeyError, SidekeyError } from "../../../core/errors.ts";
import { type Call, defineCall } from "../call.ts";
import { requireStanding } from "../callers/standing.ts";
import type { ApiContext } from "../context.ts";
import { type EventStream, openEventStream } from "../event-stream.ts";

export const eventCalls = ({ vault, hub, clock, config, draining }: ApiContext): readonly Call[] => {
  const open = new Map<EventStream, string>();
  const streamsOf = (holder: string): number => [...open.values()].filter((one) => one === holder).length;
  /** No agent's sidecars take the streams of all the others. */
  const share = Math.max(1, Math.floor(config.limits.streams / 2));
  const isOfAgent =
    (agentId: string | undefined) =>
    async (tokenId: string): Promise<boolean> =>
      agentId !== undefined && (await vault.tokens.find(tokenId))?.agentId === agentId;
  // Streams never end by themselves, and a server that stops waits for all that is under way.
  const sweep = setInterval(() => {
    if (!draining()) return;
    for (const stream of [...open.keys()]) stream.end();
    clearInterval(sweep);
  }, 100).unref();
  return [
    defineCall({
      method: "GET",
      path: "/v1/events",
      operationId: "streamEvents",
      tag: "sidecars",
      summary: "What changed, as it happens, for as long as the token is good",
      description:
        "Events: 'ready' {generation, beat_ms}; 'secret.updated' and 'secret.deleted' {path, version} of what the token covers; " +
        "'token.revoked' {jti} of the same agent; 'sidecar.revoked' {jkt} of the caller; 'reset' {generation} when not all " +
        "that happened since Last-Event-ID is known any more. A comment every beat_ms.",
      who: ["token"],
      headers: z.looseObject({
        "last-event-id": z
          .string()
          .regex(/^[0-9]{1,15}$/)
          .optional()
          .describe("The id of the last event that was seen."),
      }),
      answers: { 200: { description: "It goes on.", schema: z.string(), contentType: "text/event-stream" } },
      errors: [],
      async handle({ principal, header }) {
        if (principal.kind !== "token" || !principal.isSidecar) throw new SidekeyError("IDENTITY_SCOPE_DENIED");
        const holder = principal.token.agentId ?? `name=${principal.token.agent}`;
        if (open.size >= config.limits.streams || streamsOf(holder) >= share) throw new SidekeyError("OVERLOADED");
        const last = header("last-event-id");
        const stream = (response: ServerResponse): void => {
          const opened = openEventStream(response, {
            principal,
            hub,
            clock,
            since: last === undefined ? undefined : Number(last),
            isOfAgent: isOfAgent(principal.token.agentId),
            isGood: () =>
              requireStanding({ vault, clock }, principal).then(
                () => true,
                (error: unknown) => {
                  if (isSidekeyError(error) && error.code.startsWith("IDENTITY_")) return false;
                  throw error;
                },
              ),
            ended: () => open.delete(opened),
          });
          open.set(opened, holder);
        };
        return { status: 200, headers: { "content-type": "text/event-stream; charset=utf-8" }, stream };
      },
    }),
  ];
};
