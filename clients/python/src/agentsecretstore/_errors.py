"""What can go wrong, one class for each thing a caller may want to do about it. No message holds a value or a key."""

from __future__ import annotations

from typing import Any


class VaultError(Exception):
    """Every error of this package.

    `code` is the vault's word (`SCOPE_DENIED`), `status` the HTTP status (0 when there was no answer), and
    `request_id` finds the call in the vault's audit.
    """

    def __init__(self, code: str, message: str, status: int = 0, request_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"

    def __reduce__(self) -> tuple[Any, ...]:
        # The way of Exception calls the class with the message alone; pools of processes send errors like this.
        return (_again, (type(self), self.args, dict(vars(self))))


def _again(kind: type[VaultError], args: tuple[Any, ...], members: dict[str, Any]) -> VaultError:
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(members)
    return error


class AuthError(VaultError):
    """The key or token is not known, or no longer: 401."""


class ScopeError(VaultError):
    """The key or token does not cover this: 403."""


class ApprovalRequiredError(VaultError):
    """A person has to approve first; ask again with the same arguments once somebody did."""

    def __init__(self, message: str, approval_id: str | None, status: int = 403, request_id: str | None = None) -> None:
        super().__init__("APPROVAL_REQUIRED", message, status, request_id)
        self.approval_id = approval_id


class NotFoundError(VaultError):
    """What the call names is not there: 404."""


class SecretNotFoundError(NotFoundError):
    """There is no such secret, or no such version: 404."""


class SecretExpiredError(VaultError):
    """The secret's time is over: 410."""


class ConflictError(VaultError):
    """It is there already: 409."""


class ValidationError(VaultError):
    """The arguments are not valid: 400 and other 4xx, or found before anything was sent."""


class RateLimitError(VaultError):
    """Too many calls: 429. `retry_after` in seconds, when the vault said so."""

    def __init__(
        self, message: str, retry_after: float | None, status: int = 429, request_id: str | None = None
    ) -> None:
        super().__init__("RATE_LIMITED", message, status, request_id)
        self.retry_after = retry_after


class UnavailableError(VaultError):
    """The vault is there and cannot do its work: 5xx. A change may have been made."""


class NetworkError(VaultError):
    """No answer, or one that is none of a vault's. A change may have been made."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__("NETWORK_ERROR", message, status)
