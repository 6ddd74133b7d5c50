/** The subjects, one line each, in the order of the table. The first that ran is the mark for ratios. */
import { haproxy } from "./haproxy.ts";
import { httpMitmProxy } from "./http-mitm-proxy.ts";
import { httpProxy } from "./http-proxy.ts";
import { mitmproxy } from "./mitmproxy.ts";
import { mockttp } from "./mockttp.ts";
import { nginx } from "./nginx.ts";
import { nodeBare } from "./node-bare.ts";
import { nodeSplice } from "./node-splice.ts";
import { sidekey } from "./sidekey.ts";
import type { Subject } from "./subject.ts";

export const SUBJECTS: readonly Subject[] = [nginx, sidekey, nodeBare, nodeSplice, httpMitmProxy];

/** Those of bench:workloads; the last ones are installed on demand (peers.ts). */
export const PEERS: readonly Subject[] = [nginx, haproxy, sidekey, httpProxy, httpMitmProxy, mockttp, mitmproxy];
