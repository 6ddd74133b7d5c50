"""AgentVault: each call of the vault's API that an agent or its orchestrator makes."""

from __future__ import annotations

import asyncio
import os
import uuid
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, NoReturn
from urllib.parse import quote

import httpx

from ._errors import ApprovalRequiredError, AuthError, ValidationError
from ._models import AuditPage, ImportResult, Secret, SecretInfo, Token, objects, optional
from ._transport import Transport, Trust

DEFAULT_URL = "http://127.0.0.1:7200"

# A token with less life than this is not used again.
_SPARE = timedelta(seconds=5)
_MAX_KEPT = 256
# As many as the vault gives at most.
_PAGE = 1000
_MAX_PAGES = 10_000

_Locks = weakref.WeakValueDictionary[str, asyncio.Lock]


class AgentVault:
    """Use it as an async context manager, or call `aclose` at the end.

    :param agent_key: default `ASS_AGENT_KEY`, then `ASS_API_KEY`; an operator key does as well
    :param base_url: default `ASS_API_URL`, then `http://127.0.0.1:7200`
    :param auto_token: without `token=`, ask for a token that covers just the call; False: present the key itself
    :param default_ttl: of such tokens, `"1h"`
    :param timeout: of each attempt, in seconds
    :param retries: how often a call is repeated that may be repeated
    :param ca_file: certificates to trust instead of those of `certifi`; default `ASS_CA_FILE`
    :param cert_file: a certificate for a vault that asks its clients for one; default `ASS_CERT_FILE`
    :param cert_key_file: the private key of it; default `ASS_CERT_KEY_FILE`
    :param trust_env: use the proxies of the environment
    """

    def __init__(
        self,
        agent_key: str | None = None,
        base_url: str | None = None,
        *,
        auto_token: bool = True,
        default_ttl: str = "1h",
        timeout: float = 30.0,
        retries: int = 3,
        ca_file: str | None = None,
        cert_file: str | None = None,
        cert_key_file: str | None = None,
        trust_env: bool = False,
        http_transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        environment = os.environ
        self._key = agent_key or environment.get("ASS_AGENT_KEY") or environment.get("ASS_API_KEY")
        self._auto_token = auto_token
        self._default_ttl = default_ttl
        self._tokens: list[Token] = []
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Locks] = weakref.WeakKeyDictionary()
        self._transport = Transport(
            base_url or environment.get("ASS_API_URL") or DEFAULT_URL,
            timeout=timeout,
            retries=retries,
            trust=Trust(
                ca_file or environment.get("ASS_CA_FILE") or None,
                cert_file or environment.get("ASS_CERT_FILE") or None,
                cert_key_file or environment.get("ASS_CERT_KEY_FILE") or None,
            ),
            trust_env=trust_env,
            http_transport=http_transport,
        )

    async def __aenter__(self) -> AgentVault:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._transport.aclose()

    def __repr__(self) -> str:
        return f"AgentVault({self._transport.base_url!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("An AgentVault holds a key and connections, and is not to be pickled: make one where it is used.")

    async def request_token(
        self,
        scopes: str | Iterable[str] | None = None,
        *,
        scope: str | None = None,
        ttl: str | int | None = None,
        ttl_seconds: int | None = None,
        description: str | None = None,
        reason: str | None = None,
        allowed_ips: Iterable[str] | None = None,
        ip_allowlist: Iterable[str] | None = None,
        max_uses: int | None = None,
        reads: str | None = None,
    ) -> Token:
        """Asks for a token with these scopes, `secrets:ACTION:GLOB`.

        :raises ApprovalRequiredError: a person has to approve; ask again with the same arguments then
        :raises ScopeError: the agent's own scopes do not allow it
        """
        wanted = _scopes(scopes, scope)
        ips = allowed_ips if allowed_ips is not None else ip_allowlist
        body = {
            "scopes": list(wanted),
            "ttl": ttl if ttl is not None or ttl_seconds is not None else self._default_ttl,
            "ttl_seconds": ttl_seconds,
            "description": description,
            "reason": reason,
            "ip_allowlist": None if ips is None else list(ips),
            "max_uses": max_uses,
            "reads": reads,
        }
        answer = await self._transport.call("POST", "/v1/tokens", key=self._required_key(), body=_present(body))
        if answer.get("requires_approval") is True:
            approval = answer.get("approval_id")
            raise ApprovalRequiredError(
                "A person has to approve this token.", approval if isinstance(approval, str) else None, 202
            )
        return Token.of(answer, wanted)

    async def get_secret(
        self,
        path: str,
        *,
        token: str | Token | None = None,
        version: int | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Secret:
        """The value, which is a `str`, and what is known about it.

        :param metadata: `agent_name` and `reason` go into the vault's audit
        :raises SecretNotFoundError: there is no such secret or version
        """
        url, said = _secret_url(path), metadata or {}
        query = _present({"version": version, **{name: said.get(name) for name in ("agent_name", "reason")}})
        # A token with a number of uses spends one for this call, however often it is sent.
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        answer = await self._permitted(
            "read", path, token, lambda key: self._transport.call("GET", url, key=key, query=query, headers=headers)
        )
        return Secret.of(path, answer)

    async def get_secret_with_metadata(self, path: str, **options: Any) -> Secret:
        """As `get_secret`, whose answer has all that is known."""
        return await self.get_secret(path, **options)

    async def set_secret(
        self,
        path: str,
        value: str,
        *,
        secret_type: str = "custom",
        access_tier: str = "standard",
        metadata: Mapping[str, Any] | None = None,
        hosts: Iterable[str] | None = None,
        token: str | Token | None = None,
    ) -> SecretInfo:
        """A new secret, or a new version of it. `hosts`: the only ones it may go to."""
        body = {
            "value": value,
            "secret_type": secret_type,
            "access_tier": access_tier,
            "metadata": None if metadata is None else dict(metadata),
            "hosts": None if hosts is None else list(hosts),
        }
        url = _secret_url(path)
        answer = await self._permitted(
            "write",
            path,
            token,
            lambda key: self._transport.call("PUT", url, key=key, body=_present(body), sensitive=(value,)),
        )
        return SecretInfo.of(answer)

    async def rotate_secret(
        self,
        path: str,
        new_value: str | None = None,
        *,
        grace_period_seconds: int | None = None,
        token: str | Token | None = None,
    ) -> SecretInfo:
        """A new version, after which the one before ends with the grace. Without a value the vault makes one."""
        url = f"{_secret_url(path)}/rotate"
        body = _present({"new_value": new_value, "grace_period_seconds": grace_period_seconds})
        answer = await self._permitted(
            "write",
            path,
            token,
            lambda key: self._transport.call("POST", url, key=key, body=body, sensitive=(new_value or "",)),
        )
        return SecretInfo.of(answer)

    async def delete_secret(self, path: str, *, token: str | Token | None = None) -> None:
        """All versions."""
        url = _secret_url(path)
        await self._permitted("delete", path, token, lambda key: self._transport.call("DELETE", url, key=key))

    async def list_secrets(self, namespace: str, *, token: str | Token | None = None) -> list[SecretInfo]:
        """What the token covers in this namespace; never a value."""
        async def fetch(page: int) -> Mapping[str, Any]:
            query = {"namespace": namespace, "limit": _PAGE, "page": page}
            return await self._permitted(
                "read", f"{namespace}/*", token, lambda key: self._transport.call("GET", "/v1/secrets", key=key, query=query)
            )

        found: list[SecretInfo] = []
        for page in range(1, _MAX_PAGES + 1):
            answer = await fetch(page)
            items = objects(answer, "items")
            found.extend(SecretInfo.of(item) for item in items)
            total = optional(answer, "total", int)
            if not items or total is None or len(found) >= total:
                break
        return found

    async def import_env(
        self,
        content: str,
        namespace: str,
        *,
        secret_type: str = "custom",
        access_tier: str = "standard",
        metadata: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        token: str | Token | None = None,
    ) -> ImportResult:
        """The variables of a `.env` text, all or none. `dry_run` only tells what would be."""
        body = {
            "namespace": namespace,
            "content": content,
            "secret_type": secret_type,
            "access_tier": access_tier,
            "metadata": None if metadata is None else dict(metadata),
            "dry_run": dry_run or None,
        }
        answer = await self._permitted(
            "write",
            f"{namespace}/*",
            token,
            lambda key: self._transport.call(
                "POST", "/v1/secrets/import", key=key, body=_present(body), sensitive=_values(content)
            ),
        )
        return ImportResult.of(answer)

    async def revoke(self, token: str | Token) -> None:
        """From now on it is refused everywhere. A `str` is the token itself; a `Token` is revoked by its id."""
        if isinstance(token, Token) and token.token_id is not None:
            # Revoked twice is revoked.
            url = f"/v1/tokens/{quote(token.token_id, safe='')}"
            await self._transport.call("DELETE", url, key=self._required_key(), repeatable=True)
        else:
            await self._transport.call("POST", "/v1/tokens/revoke", key=_text(token), body={})
        self._forget(_text(token))

    async def audit(self, *, page: int = 1, limit: int = 25, **filters: str) -> AuditPage:
        """Needs an operator key. Filters: `since`, `until`, `agent`, `secret`, `event`."""
        query = {"page": page, "limit": limit, **filters}
        return AuditPage.of(await self._transport.call("GET", "/v1/audit", key=self._required_key(), query=query))

    async def health(self) -> Mapping[str, Any]:
        """`status`, `version`, `service`."""
        return await self._transport.call("GET", "/v1/health", key=None)

    def _required_key(self) -> str:
        if self._key:
            return self._key
        raise AuthError("UNAUTHORIZED", "There is no key: give agent_key, or set ASS_AGENT_KEY.")

    async def _permitted(
        self,
        action: str,
        path: str,
        token: str | Token | None,
        call: Callable[[str], Awaitable[Mapping[str, Any]]],
    ) -> Mapping[str, Any]:
        """With the token that was given, one for just this, or the key."""
        if token is not None:
            return await call(_text(token))
        key = self._required_key()
        if not self._auto_token or key.startswith("ask_op_"):
            return await call(key)
        scope = f"secrets:{action}:{path}"
        held, is_kept = await self._token_for(scope)
        try:
            return await call(held)
        except AuthError:
            # Revoked since, or the vault's keys are new: the agent key may still be good.
            if not is_kept:
                raise
        self._forget(held)
        return await call((await self._token_for(scope))[0])

    async def _token_for(self, scope: str) -> tuple[str, bool]:
        """And whether it was there already. Those who want the same at once wait for one request."""
        locks = self._locks.setdefault(asyncio.get_running_loop(), _Locks())
        lock = locks.setdefault(scope, asyncio.Lock())
        async with lock:
            now = datetime.now(timezone.utc)
            self._tokens = [known for known in self._tokens if known.expires_at - now > _SPARE]
            for known in self._tokens:
                if scope in known.scopes:
                    return known.value, True
            fresh = await self.request_token([scope])
            self._tokens = [*self._tokens[-_MAX_KEPT + 1 :], fresh]
            return fresh.value, False

    def _forget(self, value: str) -> None:
        self._tokens = [known for known in self._tokens if known.value != value]


def _scopes(scopes: str | Iterable[str] | None, scope: str | None) -> tuple[str, ...]:
    given = scopes if scopes is not None else scope
    if given is None:
        raise ValidationError("VALIDATION_ERROR", "A token needs a scope: secrets:ACTION:GLOB.")
    return tuple(given.split()) if isinstance(given, str) else tuple(given)


def _secret_url(path: str) -> str:
    segments = path.split("/")
    if len(segments) < 2 or any(segment in ("", ".", "..") for segment in segments):
        raise ValidationError("VALIDATION_ERROR", "A secret's path has two or more segments, like production/x/key.")
    return "/v1/secrets/" + "/".join(quote(segment, safe="") for segment in segments)


def _values(content: str) -> tuple[str, ...]:
    """Whatever may be a value, so that no message brings one back."""
    lines = (line.partition("=")[2].strip().strip("\"'") for line in content.splitlines())
    return tuple(value for value in lines if len(value) >= 4)


def _text(token: str | Token) -> str:
    return token.value if isinstance(token, Token) else token


def _present(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
