"""One HTTP call to the vault: time-outs, repeats, and errors of our own for everything that is no good answer."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import ssl
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from ._answers import code_of, judge, wait_of
from ._errors import AuthError, NetworkError, ValidationError

# A secret is at most 64 KiB; a page of the audit is larger.
_MAX_ANSWER = 8 * 1024 * 1024
_MAX_WAIT = 30.0
_BUSY = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Trust:
    """Files in PEM."""

    ca_file: str | None
    cert_file: str | None
    key_file: str | None


class Transport:
    def __init__(
        self,
        base_url: str,
        *,
        timeout: float,
        retries: int,
        trust: Trust,
        trust_env: bool,
        http_transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self.base_url = _checked(base_url)
        self._retries = retries
        self._timeout = timeout
        self._verify = _tls(trust)
        self._trust_env = trust_env
        self._http_transport = http_transport
        self._is_closed = False
        # Connections belong to the event loop that opened them: a program may call `asyncio.run` more than once.
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = weakref.WeakKeyDictionary()

    async def aclose(self) -> None:
        self._is_closed = True
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        key: str | None,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        sensitive: Iterable[str] = (),
    ) -> Mapping[str, Any]:
        """The answer's object; an empty one for 204.

        :param repeatable: to make it twice is as good as once; default: for GET
        :param sensitive: what is sent and must not come back in a message
        """
        sent = {"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})}
        if key is not None:
            sent["Authorization"] = f"Bearer {_printable(key)}"
        unsaid = tuple(sensitive) if key is None else (key, *sensitive)
        may_repeat_always = method == "GET" if repeatable is None else repeatable
        client = self._client()
        attempt = 0
        while True:
            try:
                status, answer_headers, text = await self._exchange(client, method, path, sent, body, query)
            # The library lets errors of TLS and of sockets through that come after the handshake.
            except (httpx.HTTPError, asyncio.TimeoutError, OSError) as error:
                untrusted = _untrusted(error)
                # Before a connection stands nothing was sent, whatever the method.
                unsent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
                may_repeat = untrusted is None and (may_repeat_always or unsent)
                if not may_repeat or attempt >= self._retries:
                    why = f"gave no answer ({type(error).__name__})" if untrusted is None else untrusted
                    # The library's words may quote what was sent.
                    raise NetworkError(f"{self.base_url} {why}") from None
                await asyncio.sleep(_pause(attempt, None))
            else:
                wait = wait_of(answer_headers)
                # A call that was refused for its number, or by a vault that stops, was not carried out. After anything
                # else nobody knows, and a second PUT is a second version.
                untouched = status == 429 or (status == 503 and code_of(text) == "DRAINING")
                may_repeat = untouched or (status in _BUSY and may_repeat_always)
                if not may_repeat or attempt >= self._retries or (wait or 0) > _MAX_WAIT:
                    return judge(status, answer_headers, text, unsaid)
                await asyncio.sleep(_pause(attempt, wait))
            attempt += 1

    def _client(self) -> httpx.AsyncClient:
        if self._is_closed:
            raise RuntimeError("This AgentVault is closed.")
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = httpx.AsyncClient(
                timeout=self._timeout,
                verify=self._verify,
                trust_env=self._trust_env,
                # A key must not follow a redirect to somewhere else.
                follow_redirects=False,
                transport=self._http_transport,
            )
        return client

    async def _exchange(
        self,
        client: httpx.AsyncClient,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None,
        query: Mapping[str, Any] | None,
    ) -> tuple[int, httpx.Headers, bytes]:
        async def exchange() -> tuple[int, httpx.Headers, bytes]:
            url = self.base_url + path
            async with client.stream(method, url, headers=headers, json=body, params=query) as response:
                if response.headers.get("content-encoding", "identity").lower() != "identity":
                    # Unpacked it may be thousands of times as large.
                    raise NetworkError(f"the answer of {self.base_url} is encoded, which was not asked for", response.status_code)
                text = bytearray()
                async for chunk in response.aiter_bytes():
                    text += chunk
                    if len(text) > _MAX_ANSWER:
                        raise NetworkError(f"the answer of {self.base_url} is too large", response.status_code)
                return response.status_code, response.headers, bytes(text)

        try:
            # The library's time-outs begin again with each byte.
            return await asyncio.wait_for(exchange(), self._timeout)
        except UnicodeEncodeError:
            # Half a surrogate pair. The error holds the whole body.
            raise ValidationError("VALIDATION_ERROR", "What is to be sent is no text in UTF-8; nothing was sent.") from None


def _tls(trust: Trust) -> ssl.SSLContext:
    """Errors: ValidationError for a file that is none."""
    if (trust.cert_file is None) != (trust.key_file is None):
        raise ValidationError("VALIDATION_ERROR", "A client certificate needs both its files: cert_file and cert_key_file.")
    file = trust.ca_file
    try:
        if trust.ca_file is None:
            context = httpx.create_ssl_context(trust_env=False)
        else:
            context = ssl.create_default_context(cafile=trust.ca_file)
        if trust.cert_file is not None:
            file = trust.cert_file
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(trust.cert_file, trust.key_file, password=lambda: b"")
    except (OSError, ValueError):
        raise ValidationError("VALIDATION_ERROR", f"{file} cannot be read, or is no PEM file of the right kind.") from None
    return context


def _untrusted(error: BaseException | None) -> str | None:
    """Why one of the two does not take the other's certificate, in OpenSSL's words."""
    for _ in range(8):
        if error is None:
            return None
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"is not trusted: {error.verify_message}"
        # Where TLS 1.3 is spoken this comes with the first answer (RFC 8446 section 4.4.2.4).
        if isinstance(error, ssl.SSLError) and "CERTIFICATE_REQUIRED" in f"{getattr(error, 'reason', None)} {error.strerror}":
            return "asks its clients for a certificate: give cert_file and cert_key_file"
        error = error.__cause__ or error.__context__
    return None


def _checked(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        raise ValidationError("VALIDATION_ERROR", "The vault's address is no URL.") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise ValidationError("VALIDATION_ERROR", "The vault's address is https://HOST[:PORT], without a user.")
    if url.path not in ("", "/") or url.query or url.fragment:
        raise ValidationError("VALIDATION_ERROR", "The vault's address is https://HOST[:PORT], and nothing more.")
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
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise AuthError("UNAUTHORIZED", "The key or token is empty, or holds a character that none has; is there a line break at its end?")
    return key


def _pause(attempt: int, wait: float | None) -> float:
    if wait is not None:
        return min(wait, _MAX_WAIT)
    return min(2.0, 0.1 * float(2**attempt)) * random.uniform(0.5, 1.0)
