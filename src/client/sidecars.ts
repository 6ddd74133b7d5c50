/** The sidecars that redeem for an agent, over the vault's API. */
import * as z from "zod";
import type { EpochMs } from "../core/clock.ts";
import { given, listOf, name, optional, type Page, type PageRequest, text, time, toPage } from "./answers.ts";
import type { Calls } from "./calls.ts";
import type { Credentials } from "./credentials.ts";
import { oneSegment } from "./secret-path.ts";

export interface SidecarInfo {
  readonly id: string;
  readonly name: string;
  /** Thumbprint of its key. */
  readonly jkt: string;
  readonly agentId?: string;
  readonly createdAt?: EpochMs;
  readonly revokedAt?: EpochMs;
}

export interface EnrolRequest {
  readonly name: string;
  /** The public key, or its thumbprint. */
  readonly jwk?: { readonly kty?: string; readonly crv?: string; readonly x?: string; readonly y?: string };
  readonly jkt?: string;
  /** For an operator: whose sidecar it is. */
  readonly agent?: string;
  readonly signal?: AbortSignal;
}

export interface SidecarsApi {
  /** The same key again for the same agent is no error. */
  enroll(request: EnrolRequest): Promise<SidecarInfo>;
  /** Revoked ones too: all for an operator, its own for an agent. */
  list(request?: PageRequest): Promise<Page<SidecarInfo>>;
  /** The one of this thumbprint among them, revoked or not. */
  find(jkt: string): Promise<SidecarInfo | undefined>;
  /** By its id; by its thumbprint for every agent that it is enrolled for. Errors: CLIENT_NOT_FOUND. */
  revoke(idOrJkt: string): Promise<void>;
}

const sidecarSchema = z.object({
  id: name,
  name: optional(text),
  jkt: name,
  agent_id: optional(text),
  created_at: optional(time),
  revoked_at: optional(time),
});
const sidecarList = listOf(sidecarSchema);

/** Of a page; and a vault with more sidecars of one agent than this has them all under one name. */
const LISTED = 100;
const MAX_PAGES = 50;

export const createSidecarsApi = (calls: Calls, { own }: Pick<Credentials, "own">): SidecarsApi => {
  const list = async ({ page, limit, signal }: PageRequest = {}): Promise<Page<SidecarInfo>> => {
    const call = {
      method: "GET",
      path: "/v1/sidecars",
      query: { page, limit },
      credential: own(),
      repeatable: true,
    } as const;
    const { items, total } = await calls.json({ ...call, signal }, sidecarList);
    return toPage(items.map(toSidecar), total);
  };
  return {
    async enroll({ name: asked, jwk, jkt, agent, signal }) {
      // Only the members that a public key has.
      const key = jwk === undefined ? undefined : { kty: jwk.kty, crv: jwk.crv, x: jwk.x, y: jwk.y };
      const body = { name: asked, jwk: key, jkt, agent };
      const call = {
        method: "POST",
        path: "/v1/sidecars",
        credential: own(),
        body,
        repeatable: true,
        what: asked,
      } as const;
      return toSidecar(await calls.json({ ...call, signal }, sidecarSchema));
    },
    list,
    async find(jkt) {
      for (let page = 1; page <= MAX_PAGES; page += 1) {
        const { items } = await list({ page, limit: LISTED });
        const found = items.find((one) => one.jkt === jkt);
        if (found !== undefined || items.length < LISTED) return found;
      }
      return undefined;
    },
    revoke: async (idOrJkt) =>
      calls.nothing({
        method: "DELETE",
        path: `/v1/sidecars/${oneSegment(idOrJkt)}`,
        credential: own(),
        repeatable: false,
        what: idOrJkt,
      }),
  };
};

const toSidecar = (body: z.infer<typeof sidecarSchema>): SidecarInfo =>
  given({
    id: body.id,
    name: body.name ?? "",
    jkt: body.jkt,
    agentId: body.agent_id,
    createdAt: body.created_at,
    revokedAt: body.revoked_at,
  });
