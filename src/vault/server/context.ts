/** What the calls of the API work with. */
import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import type { Vault } from "../index.ts";
import type { VaultServerConfig } from "./config-model.ts";

export interface ApiContext {
  readonly vault: Vault;
  readonly config: VaultServerConfig;
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
}
