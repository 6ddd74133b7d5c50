/** What the bench asks of a subject: start alone on the subject's core, answer on a port, end. */
import type { Workbench } from "../workbench.ts";

export interface RunningSubject {
  /** The process whose CPU time and memory count. */
  readonly pid: number;
  readonly port: number;
  /** PEM file that its certificate for HOST chains to. */
  readonly ca: string;
  /** Where it forwards requests in cleartext HTTP, if it does. */
  readonly cleartext?: CleartextEntry;
  close(): Promise<void>;
}

export interface CleartextEntry {
  readonly port: number;
  /** Put before the path. */
  readonly prefix: string;
  /** Of the Host header. */
  readonly authority: string;
}

export interface Subject {
  readonly name: string;
  /** `forward`: clients send CONNECT first; `direct`: clients speak TLS to it at once; `cleartext`: no TLS at all. */
  readonly mode: "forward" | "direct" | "cleartext";
  /** Why it cannot run on this machine, if so. */
  unavailable?(): string | undefined;
  start(bench: Workbench): Promise<RunningSubject>;
}
