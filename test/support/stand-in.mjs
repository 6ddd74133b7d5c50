// A TLS upstream as a program of its own, for tests whose network this process is not in. Arguments: the address, the
// port, and the files of a certificate and its key. It answers only with the credential of STAND_IN_AUTHORIZATION, echoes
// what it was sent, and writes one line to standard output when it listens.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";

const [host, port, cert, key] = process.argv.slice(2);
const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (request, response) => {
  const { authorization = "" } = request.headers;
  const known = authorization === process.env.STAND_IN_AUTHORIZATION;
  response.writeHead(known ? 200 : 401, { "content-type": "application/json" });
  response.end(JSON.stringify({ ok: known, you_sent: authorization }));
});
server.listen(Number(port), host, () => console.log("listening"));
