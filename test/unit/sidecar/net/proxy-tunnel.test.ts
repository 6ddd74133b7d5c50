import { describe, expect, it } from "vitest";
import { tunnelStatus } from "../../../../src/sidecar/net/proxy-tunnel.ts";

describe("the answer to a CONNECT", () => {
  it.each([
    ["HTTP/1.1 200 Connection established", 200],
    ["HTTP/1.0 200 OK\r\nVia: 1.1 squid", 200],
    ["HTTP/1.1 200", 200],
    ["HTTP/1.1 200 ", 200],
    ['HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm="x"', 407],
    ["HTTP/1.1 503 \xe4rger\r\nX-Empty:\r\nX-Tab: a\tb", 503],
  ])("%j has a status", (head, status) => {
    expect(tunnelStatus(head)).toBe(status);
  });

  it.each([
    "",
    "HTTP/1.1",
    "HTTP/1.1 20",
    "HTTP/1.1 2000 OK",
    "HTTP/1.1 600 X",
    "HTTP/1.1 099 X",
    "HTTP/1.1  200 OK",
    "HTTP/1.1\t200 OK",
    "HTTP/1.1 200\tOK",
    "HTTP/2 200",
    "HTTP/1.2 200 OK",
    "HTTP/1.11 200 OK",
    "http/1.1 200 OK",
    " HTTP/1.1 200 OK",
    "XHTTP/1.1 200 OK",
    "HTTP/1.1 200 O\0K",
    "HTTP/1.1 200 O\nK",
    "HTTP/1.1 200 O\rK",
    "HTTP/1.1 200 OK\r\nno colon",
    "HTTP/1.1 200 OK\r\n: no name",
    "HTTP/1.1 200 OK\r\nA : b",
    "HTTP/1.1 200 OK\r\nA: b\r\n folded",
    "HTTP/1.1 200 OK\r\nA: b\nC: d",
    "HTTP/1.1 200 OK\r\nA: \x7f",
    "HTTP/1.1 200 OK\r\nA: b\r\n",
  ])("%j has none", (head) => {
    expect(tunnelStatus(head)).toBeUndefined();
  });
});
