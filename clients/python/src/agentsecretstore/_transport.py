"""One HTTP call to the vault: time-outs, repeats, and errors of our own for everything that is no good answer."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import random
import ssl
from collections.abc import Mapping
from typing import Any

import httpx

from ._errors import (
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

# A secret is at most 64 KiB; a page of the audit is larger.
_MAX_ANSWER = 8 * 1024 * 1024
_MAX_WAIT = 30.0
_REPEATABLE = frozenset({"GET", "PUT", "DELETE"})
_BUSY = frozenset({429, 502, 503, 504})


class Transport:
    def __init__(
        self,
        base_url: str,
        *,
        timeout: float,
        retries: int,
        verify: bool | ssl.SSLContext,
        trust_env: bool,
        http_transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self.base_url = _checked(base_url)
        self._retries = retries
        self._client = httpx.AsyncClient(
            timeout=timeout,
            verify=verify,
            trust_env=trust_env,
            # A key must not follow a redirect to somewhere else.
            follow_redirects=False,
            transport=http_transport,
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        key: str | None,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """The answer's object; an empty one for 204."""
        sent = {"Accept": "application/json", **(headers or {})}
        if key is not None:
            sent["Authorization"] = f"Bearer {_printable(key)}"
        attempt = 0
        while True:
            try:
                status, answer_headers, text = await self._exchange(method, path, sent, body, query)
            except httpx.HTTPError as error:
                # Before a connection stands nothing was sent, whatever the method.
                may_repeat = method in _REPEATABLE or isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
                if not may_repeat or attempt >= self._retries:
                    # The library's words may quote what was sent.
                    raise NetworkError(f"{self.base_url} gave no answer ({type(error).__name__})") from None
                await asyncio.sleep(_pause(attempt, None))
            else:
                wait = _seconds(answer_headers.get("retry-after"))
                # A call that was refused for its number was not carried out.
                may_repeat = status == 429 or (status in _BUSY and method in _REPEATABLE)
                if not may_repeat or attempt >= self._retries or (wait or 0) > _MAX_WAIT:
                    return _judge(status, answer_headers, text)
                await asyncio.sleep(_pause(attempt, wait))
            attempt += 1

    async def _exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None,
        query: Mapping[str, Any] | None,
    ) -> tuple[int, httpx.Headers, bytes]:
        url = self.base_url + path
        async with self._client.stream(method, url, headers=headers, json=body, params=query) as response:
            text = bytearray()
            async for chunk in response.aiter_bytes():
                text += chunk
                if len(text) > _MAX_ANSWER:
                    raise NetworkError(f"the answer of {self.base_url} is too large", response.status_code)
            return response.status_code, response.headers, bytes(text)


def _checked(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        raise ValidationError("VALIDATION_ERROR", "The vault's address is no URL.") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise ValidationError("VALIDATION_ERROR", "The vault's address is https://HOST[:PORT], without a user.")
    if url.scheme == "http" and not _is_this_machine(url.host):
        raise ValidationError("VALIDATION_ERROR", f"{url.host} is another machine: use https, a key must not go in cleartext.")
    return base_url.rstrip("/")


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _printable(key: str) -> str:
    # The library would quote it in its error.
    if not key.isascii() or not key.isprintable() or " " in key:
        raise AuthError("UNAUTHORIZED", "The key or token holds a character that none has; is there a line break at its end?")
    return key


def _pause(attempt: int, wait: float | None) -> float:
    if wait is not None:
        return min(wait, _MAX_WAIT)
    return min(2.0, 0.1 * float(2**attempt)) * random.uniform(0.5, 1.0)


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else max(0.0, float(text))
    except ValueError:
        return None


def _judge(status: int, headers: httpx.Headers, text: bytes) -> Mapping[str, Any]:
    if status == 204:
        return {}
    answer = _object(text)
    if 200 <= status < 300:
        if answer is None:
            raise NetworkError("the answer is no JSON object", status)
        return answer
    error = (answer or {}).get("error")
    if not isinstance(error, dict):
        raise NetworkError("the answer is none of a vault's", status)
    raise _error(status, error, _seconds(headers.get("retry-after")))


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        # Its words quote the text.
        return None
    return answer if isinstance(answer, dict) else None


def _error(status: int, error: Mapping[str, Any], retry_after: float | None) -> VaultError:
    code, message = str(error.get("code", "UNKNOWN_ERROR")), str(error.get("message", "The vault refused."))
    request_id = error.get("request_id")
    request = request_id if isinstance(request_id, str) else None
    if code == "APPROVAL_REQUIRED":
        approval = error.get("approval_id")
        return ApprovalRequiredError(message, approval if isinstance(approval, str) else None, status, request)
    if status == 429:
        return RateLimitError(message, retry_after, status, request)
    kinds = {400: ValidationError, 401: AuthError, 403: ScopeError, 404: SecretNotFoundError, 409: ConflictError}
    return kinds.get(status, VaultError)(code, message, status, request)
