/** Small requests: answers of 1 KB, intercepted and through the gateway in cleartext, and posts of 16 KB. */
import { BODY_LENGTH } from "../workbench.ts";
import { REQUEST_COLUMNS, runRequests, type Workload, withPercent } from "./workload.ts";

const CONNECTIONS = 64;
const POST_BYTES = 16 * 1024;

const create = (name: string, title: string, way: Workload["way"], uploadBytes?: number): Workload => ({
  name,
  title: `${title}, ${CONNECTIONS} connections`,
  way,
  columns: REQUEST_COLUMNS,
  run: async (bench, target, effort) =>
    withPercent(
      await runRequests(bench, target, way, effort, {
        connections: CONNECTIONS,
        bodyLength: BODY_LENGTH,
        path: uploadBytes === undefined ? "/v1/models?limit=20" : "/post",
        ...(uploadBytes !== undefined && { uploadBytes }),
      }),
    ),
});

export const intercepted = create("intercepted", "Intercepted TLS, answers of 1 KB", "intercepted");
export const gateway = create("gateway", "Gateway in cleartext, TLS out, answers of 1 KB", "cleartext");
export const posts = create("posts", "Intercepted TLS, posts of 16 KB", "intercepted", POST_BYTES);
