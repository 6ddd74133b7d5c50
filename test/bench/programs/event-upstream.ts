/**
 * `GET /events?count=N&gap=MS`: N server-sent events, each with the moment it was written on the machine's monotonic
 * clock (CLOCK_MONOTONIC on Linux, the same for all processes).
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** About what a language model sends for a token. */
const TEXT = "lorem ipsum ".repeat(16);

const server = createServer((request, response) => {
  const { searchParams } = new URL(request.url ?? "/", "http://localhost");
  let left = Number(searchParams.get("count"));
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  const timer = setInterval(
    () => {
      response.write(`data: {"sent":"${process.hrtime.bigint()}","text":"${TEXT}"}\n\n`);
      left -= 1;
      if (left > 0) return;
      clearInterval(timer);
      response.end();
    },
    Number(searchParams.get("gap")),
  );
  response.on("close", () => clearInterval(timer));
});
server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port));
