/** The subjects, one line each, in the order of the table. The first that ran is the mark for ratios. */
import { httpMitmProxy } from "./http-mitm-proxy.ts";
import { nginx } from "./nginx.ts";
import { nodeBare } from "./node-bare.ts";
import { nodeSplice } from "./node-splice.ts";
import { sidekey } from "./sidekey.ts";
import type { Subject } from "./subject.ts";

export const SUBJECTS: readonly Subject[] = [nginx, sidekey, nodeBare, nodeSplice, httpMitmProxy];
