/** What the calls of the API work with. */
import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import type { VaultAudit } from "../audit.ts";
import type { AnyVault } from "../index.ts";
import type { ApprovalTeller } from "./approval-news.ts";
import type { VaultServerConfig } from "./config/model.ts";
import type { EventHub } from "./event-hub.ts";

export interface ApiContext {
  readonly vault: AnyVault;
  readonly audit: VaultAudit;
  readonly hub: EventHub;
  readonly teller: ApprovalTeller;
  readonly config: VaultServerConfig;
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
  /** The OpenAPI document, as JSON. */
  readonly document: () => string;
  readonly draining: () => boolean;
}
