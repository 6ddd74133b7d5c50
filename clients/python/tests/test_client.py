"""The client against an HTTP transport in memory: what it sends, and what it makes of each answer."""

from __future__ import annotations

import json
import os
import unittest
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest import mock

import httpx

from agentsecretstore import (
    AgentVault,
    ApprovalRequiredError,
    AuthError,
    ConflictError,
    NetworkError,
    RateLimitError,
    ScopeError,
    SecretNotFoundError,
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
            (refusal(409, "CONFLICT"), ConflictError),
            (refusal(500, "INTERNAL"), VaultError),
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

    async def test_a_key_never_goes_in_cleartext_to_another_machine(self) -> None:
        for url in ("http://vault.example", "http://10.0.0.1:7200", "ftp://x", "vault", "https://user:pw@vault.example"):
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
                "GET /v1/secrets?namespace=a&limit=1000",
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


if __name__ == "__main__":
    unittest.main()
