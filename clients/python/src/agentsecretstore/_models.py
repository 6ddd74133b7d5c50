"""What the vault answers, checked: a member of another type than it should have is an error and not a surprise later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from ._errors import NetworkError

T = TypeVar("T")


class Secret(str):
    """A secret's value, which is this string itself, and what is known about it. `repr` does not show the value."""

    path: str
    version: int
    tier: str
    secret_type: str
    metadata: Mapping[str, Any]
    is_placeholder: bool
    """The vault gave a stand-in, which the sidecar swaps for the value on the way out."""

    @classmethod
    def of(cls, path: str, answer: Mapping[str, Any]) -> Secret:
        secret = cls(member(answer, "value", str))
        secret.path = path
        secret.version = member(answer, "version", int)
        secret.tier = optional(answer, "access_tier", str) or "standard"
        secret.secret_type = optional(answer, "secret_type", str) or "custom"
        secret.metadata = optional(answer, "metadata", dict) or {}
        secret.is_placeholder = answer.get("placeholder") is True
        return secret

    @property
    def value(self) -> str:
        return str.__str__(self)

    def __str__(self) -> str:
        return str.__str__(self)

    def __repr__(self) -> str:
        return f"Secret({self.path!r}, version={self.version})"


@dataclass(frozen=True)
class Token:
    """A scoped token. `value` and `token` are the same: the two API generations have different names for it."""

    value: str = field(repr=False)
    scopes: tuple[str, ...]
    expires_at: datetime
    token_id: str | None = None

    @classmethod
    def of(cls, answer: Mapping[str, Any], asked: tuple[str, ...]) -> Token:
        scopes = optional(answer, "scopes", list)
        return cls(
            value=member(answer, "token", str),
            scopes=asked if scopes is None else tuple(str(scope) for scope in scopes),
            expires_at=moment(member(answer, "expires_at", str)),
            token_id=optional(answer, "token_id", str),
        )

    @property
    def token(self) -> str:
        return self.value

    @property
    def scope(self) -> str:
        """Space-separated."""
        return " ".join(self.scopes)


@dataclass(frozen=True)
class SecretInfo:
    """What is known about a secret; never its value."""

    namespace: str
    key: str
    version: int
    tier: str
    secret_type: str
    metadata: Mapping[str, Any]

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> SecretInfo:
        return cls(
            namespace=member(answer, "namespace", str),
            key=member(answer, "key", str),
            version=member(answer, "version", int),
            tier=optional(answer, "access_tier", str) or "standard",
            secret_type=optional(answer, "secret_type", str) or "custom",
            metadata=optional(answer, "metadata", dict) or {},
        )

    @property
    def path(self) -> str:
        return f"{self.namespace}/{self.key}"


@dataclass(frozen=True)
class ImportResult:
    namespace: str
    imported: tuple[str, ...]
    imported_count: int

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> ImportResult:
        return cls(
            namespace=member(answer, "namespace", str),
            imported=tuple(str(key) for key in member(answer, "imported", list)),
            imported_count=member(answer, "imported_count", int),
        )


@dataclass(frozen=True)
class AuditPage:
    """`events` as the vault tells them, newest first."""

    events: tuple[Mapping[str, Any], ...]
    total: int
    page: int
    limit: int

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> AuditPage:
        return cls(
            events=tuple(objects(answer, "events")),
            total=member(answer, "total", int),
            page=member(answer, "page", int),
            limit=member(answer, "limit", int),
        )


def member(answer: Mapping[str, Any], name: str, kind: type[T]) -> T:
    value = optional(answer, name, kind)
    if value is None:
        raise NetworkError(f"the vault's answer has no '{name}'")
    return value


def optional(answer: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    value = answer.get(name)
    if value is None:
        return None
    # JSON's true is no number, though Python's is one.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise NetworkError(f"'{name}' of the vault's answer is no {kind.__name__}")
    return value


def objects(answer: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    items = member(answer, name, list)
    if not all(isinstance(item, dict) for item in items):
        raise NetworkError(f"'{name}' of the vault's answer holds something else than objects")
    return items


def moment(text: str) -> datetime:
    try:
        # Python 3.10 knows no Z.
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise NetworkError("a time of the vault's answer is no time with its zone")
    return time
