"""The client against an HTTP transport in memory: what it sends, and what it makes of each answer."""

from __future__ import annotations

import asyncio
import copy
import gc
import gzip
import json
import os
import pickle
import ssl
import threading
import unittest
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock

import httpx

from agentsecretstore import (
    AgentVault,
    ApprovalRequiredError,
    AuthError,
    ConflictError,
    NetworkError,
    NotFoundError,
    RateLimitError,
    ScopeError,
    SecretExpiredError,
    SecretNotFoundError,
    UnavailableError,
    ValidationError,
    VaultError,
)

KEY = "ast_agent_canary-key"
VALUE = "canary-value"
PATH = "production/openai/api-key"
URL = "https://vault.example"

Answer = httpx.Response | Exception


def token(scope: str, left: float = 3600) -> dict[str, Any]:
    ends = datetime.now(timezone.utc) + timedelta(seconds=left)
    return {"token": f"tok({scope})", "scopes": [scope], "expires_at": ends.isoformat().replace("+00:00", "Z")}


def secret(value: str = VALUE, **more: Any) -> dict[str, Any]:
    return {"value": value, "version": 3, "access_tier": "sensitive", "secret_type": "api_key", "metadata": {}, **more}


def refusal(status: int, code: str, **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"error": {"code": code, "message": "no", "request_id": "r1", **more}})


class Script:
    """Answers in order; what was asked is kept."""

    def __init__(self, *answers: Answer | Callable[[httpx.Request], httpx.Response]) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    def vault(self, **options: Any) -> AgentVault:
        chosen: dict[str, Any] = {"agent_key": KEY, "base_url": URL, **options}
        return AgentVault(**chosen, http_transport=httpx.MockTransport(self))

    def lines(self) -> list[str]:
        return [f"{one.method} {one.url.raw_path.decode()} {one.headers.get('authorization')}" for one in self.asked]


class ClientTest(unittest.IsolatedAsyncioTestCase):
    def setUp(self) -> None:
        pause = mock.patch("asyncio.sleep", new=mock.AsyncMock())
        self.pause = pause.start()
        self.addCleanup(pause.stop)

    async def test_a_token_by_the_first_call_style(self) -> None:
        script = Script(httpx.Response(201, json=token("secrets:read:production/*")))
        async with script.vault() as vault:
            got = await vault.request_token(
                scope="secrets:read:production/*",
                ttl_seconds=1800,
                description="session",
                allowed_ips=["10.0.0.0/8"],
                max_uses=2,
            )
        self.assertEqual(got.value, "tok(secrets:read:production/*)")
        self.assertEqual(got.token, got.value)
        self.assertEqual(got.scope, "secrets:read:production/*")
        self.assertGreater(got.expires_at, datetime.now(timezone.utc))
        self.assertEqual(
            json.loads(script.asked[0].content),
            {
                "scopes": ["secrets:read:production/*"],
                "ttl_seconds": 1800,
                "description": "session",
                "ip_allowlist": ["10.0.0.0/8"],
                "max_uses": 2,
            },
        )

    async def test_a_token_by_the_second_call_style(self) -> None:
        script = Script(httpx.Response(201, json=token("secrets:read:a/*")))
        async with script.vault() as vault:
            got = await vault.request_token(["secrets:read:a/*", "secrets:write:a/*"], ttl="1h")
        self.assertEqual(got.token, "tok(secrets:read:a/*)")
        sent = {"scopes": ["secrets:read:a/*", "secrets:write:a/*"], "ttl": "1h"}
        self.assertEqual(json.loads(script.asked[0].content), sent)
        self.assertEqual(script.lines(), [f"POST /v1/tokens Bearer {KEY}"])

    async def test_a_secret_is_its_value_and_what_is_known_of_it(self) -> None:
        script = Script(httpx.Response(200, json=secret()))
        async with script.vault() as vault:
            got = await vault.get_secret(
                PATH, token="scoped", metadata={"agent_name": "researcher", "reason": "find papers", "other": "x"}
            )
        self.assertEqual((got, got.value, str(got), f"{got}"), (VALUE,) * 4)
        self.assertEqual((got.version, got.tier, got.is_placeholder), (3, "sensitive", False))
        self.assertNotIn(VALUE, repr(got))
        self.assertNotIn(VALUE, repr([got]))
        self.assertEqual(
            script.lines(), ["GET /v1/secrets/production/openai/api-key?agent_name=researcher&reason=find+papers Bearer scoped"]
        )

    async def test_without_a_token_it_asks_for_one_and_uses_it_again_while_it_lasts(self) -> None:
        scope = f"secrets:read:{PATH}"
        script = Script(
            httpx.Response(201, json=token(scope, left=3600)),
            httpx.Response(200, json=secret()),
            httpx.Response(200, json=secret()),
        )
        async with script.vault() as vault:
            await vault.get_secret(PATH)
            await vault.get_secret(PATH)
        url = "/v1/secrets/production/openai/api-key"
        self.assertEqual(
            script.lines(), [f"POST /v1/tokens Bearer {KEY}"] + [f"GET {url} Bearer tok({scope})"] * 2
        )

    async def test_a_token_that_is_about_to_end_is_not_used_again(self) -> None:
        scope = f"secrets:read:{PATH}"
        script = Script(
            httpx.Response(201, json=token(scope, left=4)),
            httpx.Response(200, json=secret()),
            httpx.Response(201, json=token(scope)),
            httpx.Response(200, json=secret()),
        )
        async with script.vault() as vault:
            await vault.get_secret(PATH)
            await vault.get_secret(PATH)
        self.assertEqual(len(script.asked), 4)

    async def test_an_operator_key_is_presented_itself(self) -> None:
        script = Script(httpx.Response(200, json=secret()))
        async with script.vault(agent_key="ask_op_x") as vault:
            await vault.get_secret(PATH)
        self.assertTrue(script.lines()[0].endswith("Bearer ask_op_x"))

    async def test_what_has_to_be_approved_is_told_with_its_id(self) -> None:
        script = Script(httpx.Response(202, json={"requires_approval": True, "approval_id": "a1"}))
        async with script.vault() as vault:
            with self.assertRaises(ApprovalRequiredError) as caught:
                await vault.request_token(scope="secrets:read:a/*")
        self.assertEqual(caught.exception.approval_id, "a1")

    async def test_each_refusal_is_an_error_of_its_own(self) -> None:
        cases: list[tuple[httpx.Response, type[VaultError]]] = [
            (refusal(400, "VALIDATION_ERROR"), ValidationError),
            (refusal(401, "UNAUTHORIZED"), AuthError),
            (refusal(403, "SCOPE_DENIED"), ScopeError),
            (refusal(403, "APPROVAL_REQUIRED"), ApprovalRequiredError),
            (refusal(404, "SECRET_NOT_FOUND"), SecretNotFoundError),
            (refusal(404, "NOT_FOUND"), NotFoundError),
            (refusal(410, "SECRET_EXPIRED"), SecretExpiredError),
            (refusal(413, "PAYLOAD_TOO_LARGE"), ValidationError),
            (httpx.Response(400, json={"error": {"code": "VALIDATION_ERROR", "message": "scoped-canary is odd"}}), ValidationError),
            (refusal(409, "CONFLICT"), ConflictError),
            (refusal(500, "INTERNAL"), UnavailableError),
            (httpx.Response(200, content=gzip.compress(b"{}"), headers={"content-encoding": "gzip"}), NetworkError),
            (httpx.Response(200, text="<html>"), NetworkError),
            (httpx.Response(404, text="<html>"), NetworkError),
            (httpx.Response(200, json=["a"]), NetworkError),
            (httpx.Response(200, json=secret(version="3")), NetworkError),
            (httpx.Response(200, json=secret(version=True)), NetworkError),
            (httpx.Response(200, json={"version": 1}), NetworkError),
            (httpx.Response(302, headers={"location": "https://evil.example/"}), NetworkError),
        ]
        for answer, kind in cases:
            with self.subTest(status=answer.status_code, kind=kind.__name__):
                script = Script(answer)
                async with script.vault() as vault:
                    with self.assertRaises(kind) as caught:
                        await vault.get_secret(PATH, token="scoped-canary")
                self.assertEqual(len(script.asked), 1)
                for word in (VALUE, KEY, "scoped-canary"):
                    self.assertNotIn(word, f"{caught.exception!r} {caught.exception}")

    async def test_a_busy_vault_is_asked_again_after_the_time_it_says(self) -> None:
        script = Script(
            httpx.Response(429, headers={"retry-after": "7"}, json={"error": {"code": "RATE_LIMITED", "message": "x"}}),
            refusal(503, "STORE_UNAVAILABLE"),
            httpx.Response(200, json=secret()),
        )
        async with script.vault() as vault:
            self.assertEqual(await vault.get_secret(PATH, token="t"), VALUE)
        self.assertEqual(self.pause.await_args_list[0].args, (7.0,))
        # A token with a number of uses spends one for all three.
        self.assertEqual(len({one.headers["idempotency-key"] for one in script.asked}), 1)

    async def test_it_gives_up_at_last(self) -> None:
        limited = httpx.Response(429, headers={"retry-after": "1"}, json={"error": {"code": "RATE_LIMITED", "message": "x"}})
        script = Script(limited, limited, limited)
        async with script.vault(retries=2) as vault:
            with self.assertRaises(RateLimitError) as caught:
                await vault.get_secret(PATH, token="t")
        self.assertEqual(caught.exception.retry_after, 1.0)
        long = httpx.Response(429, headers={"retry-after": "3600"}, json={"error": {"code": "RATE_LIMITED", "message": "x"}})
        script = Script(long)
        async with script.vault() as vault:
            with self.assertRaises(RateLimitError):
                await vault.get_secret(PATH, token="t")

    async def test_only_what_may_be_repeated_is(self) -> None:
        script = Script(httpx.ReadError("lost"), httpx.Response(200, json=secret()))
        async with script.vault() as vault:
            self.assertEqual(await vault.get_secret(PATH, token="t"), VALUE)
        script = Script(httpx.ReadError("lost"))
        async with script.vault() as vault:
            with self.assertRaises(NetworkError):
                await vault.request_token(scope="secrets:read:a/*")
        script = Script(httpx.ConnectError("refused"), httpx.Response(201, json=token("secrets:read:a/*")))
        async with script.vault() as vault:
            await vault.request_token(scope="secrets:read:a/*")

    async def test_a_change_that_may_have_been_made_is_not_made_twice(self) -> None:
        meta = {"namespace": "a", "key": "b", "version": 2}
        for lost in (httpx.ReadError("lost"), refusal(503, "AUDIT_UNAVAILABLE"), httpx.Response(502, text="gateway")):
            for change in ("set", "rotate", "delete"):
                script = Script(lost, httpx.Response(200, json=meta))
                async with script.vault() as vault:
                    with self.subTest(change=change), self.assertRaises((NetworkError, UnavailableError)):
                        if change == "set":
                            await vault.set_secret("a/b", "v", token="t")
                        elif change == "rotate":
                            await vault.rotate_secret("a/b", "v", token="t")
                        else:
                            await vault.delete_secret("a/b", token="t")
                self.assertEqual(len(script.asked), 1)
        # A vault that stops, and one that counts, say so before they do anything.
        script = Script(refusal(503, "DRAINING"), refusal(429, "RATE_LIMITED"), httpx.Response(200, json=meta))
        async with script.vault() as vault:
            self.assertEqual((await vault.set_secret("a/b", "v", token="t")).version, 2)

    async def test_a_date_to_wait_for_counts_from_the_answers_own(self) -> None:
        limited = httpx.Response(
            429,
            headers={"date": "Sat, 28 Nov 2026 10:00:00 GMT", "retry-after": "Sat, 28 Nov 2026 10:00:09 GMT"},
            json={"error": {"code": "RATE_LIMITED", "message": "x"}},
        )
        for odd in ("nan", "inf", "-3", "1e9", "soon"):
            script = Script(
                httpx.Response(429, headers={"retry-after": odd}, json={"error": {"code": "RATE_LIMITED", "message": "x"}})
            )
            async with script.vault(retries=0) as vault:
                with self.subTest(odd=odd), self.assertRaises(RateLimitError) as caught:
                    await vault.get_secret(PATH, token="t")
            self.assertIsNone(caught.exception.retry_after)
        script = Script(limited, httpx.Response(200, json=secret()))
        async with script.vault() as vault:
            await vault.get_secret(PATH, token="t")
        self.assertEqual(self.pause.await_args_list[-1].args, (9.0,))

    async def test_a_token_that_was_revoked_meanwhile_is_asked_for_once_more(self) -> None:
        scope = f"secrets:read:{PATH}"
        script = Script(
            httpx.Response(201, json=token(scope)),
            httpx.Response(200, json=secret()),
            refusal(401, "UNAUTHORIZED"),
            httpx.Response(201, json=token(scope)),
            refusal(401, "UNAUTHORIZED"),
        )
        async with script.vault() as vault:
            await vault.get_secret(PATH)
            with self.assertRaises(AuthError):
                await vault.get_secret(PATH)
        self.assertEqual(len(script.asked), 5)

    async def test_many_at_once_ask_for_one_token(self) -> None:
        scope = f"secrets:read:{PATH}"
        script = Script(httpx.Response(201, json=token(scope)), *[httpx.Response(200, json=secret())] * 20)
        async with script.vault() as vault:
            await asyncio.gather(*(vault.get_secret(PATH) for _ in range(20)))
        self.assertEqual([line.split()[0] for line in script.lines()], ["POST", *["GET"] * 20])

    async def test_a_listing_is_read_to_its_end(self) -> None:
        def page(request: httpx.Request) -> httpx.Response:
            at = (int(request.url.params["page"]) - 1) * 1000
            items = [{"namespace": "a", "key": f"k{n}", "version": 1} for n in range(at, min(at + 1000, 2500))]
            return httpx.Response(200, json={"namespace": "a", "items": items, "total": 2500})

        script = Script(page, page, page)
        async with script.vault() as vault:
            found = await vault.list_secrets("a", token="t")
        self.assertEqual([found[0].key, found[-1].key, len(found)], ["k0", "k2499", 2500])

    async def test_what_is_no_text_is_refused_before_anything_is_sent(self) -> None:
        script = Script()
        async with script.vault() as vault:
            with self.assertRaises(ValidationError) as caught:
                await vault.set_secret("a/b", "canary-\ud800", token="t")
            with self.assertRaises(AuthError):
                await vault.get_secret("a/b", token="")
        self.assertNotIn("canary", f"{caught.exception!r}")
        self.assertEqual(script.asked, [])

    def test_errors_survive_the_way_between_processes(self) -> None:
        errors: list[VaultError] = [
            AuthError("UNAUTHORIZED", "no", 401, "r1"),
            ApprovalRequiredError("wait", "a1", 202, "r2"),
            RateLimitError("slower", 7.0),
            NetworkError("gone"),
        ]
        for error in errors:
            for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
                self.assertIs(type(again), type(error))
                self.assertEqual((str(again), vars(again)), (str(error), vars(error)))

    async def test_a_client_and_its_key_are_not_pickled(self) -> None:
        async with Script().vault() as vault:
            with self.assertRaises(TypeError):
                pickle.dumps(vault)

    async def test_a_closed_client_says_so(self) -> None:
        vault = Script().vault()
        await vault.aclose()
        await vault.aclose()
        with self.assertRaisesRegex(RuntimeError, "closed"):
            await vault.health()

    async def test_what_tls_says_after_the_handshake_is_an_error_of_its_own(self) -> None:
        wanted = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:2580)")
        async with Script(wanted).vault() as vault:
            with self.assertRaisesRegex(NetworkError, "cert_file and cert_key_file"):
                await vault.get_secret(PATH, token="t")
        script = Script(ssl.SSLError(1, "bad record"), ConnectionResetError("gone"))
        async with script.vault(retries=1) as vault:
            with self.assertRaises(NetworkError):
                await vault.get_secret(PATH, token="t")
        self.assertEqual(len(script.asked), 2)

    async def test_files_that_are_no_certificates_are_named(self) -> None:
        cases: list[dict[str, Any]] = [
            {"ca_file": "/no/such.pem"},
            {"ca_file": __file__},
            {"cert_file": __file__, "cert_key_file": __file__},
            {"cert_file": "/no/such.pem"},
        ]
        for options in cases:
            with self.subTest(options=options), self.assertRaises(ValidationError):
                AgentVault(KEY, URL, **options)

    async def test_a_key_never_goes_in_cleartext_to_another_machine(self) -> None:
        for url in ("http://vault.example", "http://10.0.0.1:7200", "ftp://x", "vault", "https://user:pw@vault.example", f"{URL}/v1", f"{URL}?a=b"):
            with self.subTest(url=url), self.assertRaises(ValidationError) as caught:
                AgentVault(KEY, url)
            self.assertNotIn("pw", str(caught.exception))
        for url in ("http://127.0.0.1:7200", "http://[::1]:7200", "http://localhost:7200", URL):
            await AgentVault(KEY, url).aclose()

    async def test_a_key_with_a_line_break_is_not_quoted(self) -> None:
        script = Script()
        async with script.vault(agent_key=f"{KEY}\n") as vault:
            with self.assertRaises(AuthError) as caught:
                await vault.request_token(scope="secrets:read:a/*")
        self.assertNotIn(KEY, str(caught.exception))
        self.assertEqual(script.asked, [])

    async def test_a_path_that_is_none_is_refused_before_anything_is_sent(self) -> None:
        script = Script()
        async with script.vault() as vault:
            for path in ("", "one", "a//b", "a/../b", "/a/b", "a/b/"):
                with self.subTest(path=path), self.assertRaises(ValidationError):
                    await vault.get_secret(path, token="t")
        self.assertEqual(script.asked, [])

    async def test_odd_characters_of_a_path_are_escaped(self) -> None:
        script = Script(refusal(404, "SECRET_NOT_FOUND"))
        async with script.vault() as vault:
            with self.assertRaises(SecretNotFoundError):
                await vault.get_secret("a/b?x=1#y", token="t")
        self.assertEqual(script.asked[0].url.raw_path, b"/v1/secrets/a/b%3Fx%3D1%23y")

    async def test_the_other_calls(self) -> None:
        meta = {"namespace": "a", "key": "b", "version": 2, "secret_type": "custom", "access_tier": "standard", "metadata": {}}
        script = Script(
            httpx.Response(200, json=meta),
            httpx.Response(200, json=meta),
            httpx.Response(200, json={"namespace": "a", "items": [meta]}),
            httpx.Response(200, json={"namespace": "a", "imported": ["B"], "imported_count": 1}),
            httpx.Response(204),
            httpx.Response(204),
            httpx.Response(200, json={"events": [{"id": "1"}], "total": 1, "page": 1, "limit": 25}),
            httpx.Response(200, json={"status": "ok", "version": "1", "service": "sidekey-vault"}),
        )
        async with script.vault(agent_key="ask_op_x") as vault:
            self.assertEqual((await vault.set_secret("a/b", "v", hosts=["x.example"])).path, "a/b")
            self.assertEqual((await vault.rotate_secret("a/b", grace_period_seconds=60)).version, 2)
            self.assertEqual([one.key for one in await vault.list_secrets("a")], ["b"])
            self.assertEqual((await vault.import_env("B=1", "a")).imported, ("B",))
            await vault.delete_secret("a/b")
            await vault.revoke("a-token")
            self.assertEqual((await vault.audit(event="secret.*")).events, ({"id": "1"},))
            self.assertEqual((await vault.health())["status"], "ok")
        self.assertEqual(
            [line.removesuffix(" Bearer ask_op_x") for line in script.lines()],
            [
                "PUT /v1/secrets/a/b",
                "POST /v1/secrets/a/b/rotate",
                "GET /v1/secrets?namespace=a&limit=1000&page=1",
                "POST /v1/secrets/import",
                "DELETE /v1/secrets/a/b",
                "POST /v1/tokens/revoke Bearer a-token",
                "GET /v1/audit?page=1&limit=25&event=secret.%2A",
                "GET /v1/health None",
            ],
        )

    async def test_the_environment_names_key_and_address(self) -> None:
        with mock.patch.dict(os.environ, {"ASS_AGENT_KEY": KEY, "ASS_API_URL": "https://from.env"}):
            vault = AgentVault()
        self.assertIn("https://from.env", repr(vault))
        self.assertNotIn(KEY, repr(vault))
        await vault.aclose()
        with mock.patch.dict(os.environ, clear=True):
            async with AgentVault() as vault:
                with self.assertRaises(AuthError):
                    await vault.request_token(scope="secrets:read:a/*")


class LoopTest(unittest.TestCase):
    """Over real sockets: connections belong to the event loop that opened them."""

    def test_one_client_serves_several_event_loops(self) -> None:
        class Healthy(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-length", "15")
                self.end_headers()
                self.wfile.write(b'{"status":"ok"}')

            def log_message(self, format: str, *args: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server, warnings.catch_warnings():
            # What `asyncio.run` leaves open of a client that is not closed in it.
            warnings.simplefilter("ignore", ResourceWarning)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            vault = AgentVault(KEY, f"http://127.0.0.1:{server.server_port}")
            for _ in range(3):
                self.assertEqual(asyncio.run(vault.health())["status"], "ok")
            del vault
            gc.collect()
            server.shutdown()

    def test_an_answer_that_drips_ends_in_time(self) -> None:
        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            try:
                while True:
                    writer.write(b" ")
                    await writer.drain()
                    await asyncio.sleep(0.01)
            except (ConnectionError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        async def main() -> None:
            server = await asyncio.start_server(drip, "127.0.0.1", 0)
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with AgentVault(KEY, url, timeout=0.3, retries=0) as vault:
                with self.assertRaises(NetworkError):
                    await vault.health()
            server.close()

        asyncio.run(main())


if __name__ == "__main__":
    unittest.main()
