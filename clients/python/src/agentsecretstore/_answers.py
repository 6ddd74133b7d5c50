"""From an answer of the vault to what was asked for, or to the error that names what is wrong. Quotes nothing that was sent."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from ._errors import (
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

_LONGEST_WORDS = 300


def judge(status: int, headers: httpx.Headers, text: bytes, sensitive: tuple[str, ...]) -> Mapping[str, Any]:
    """The object of a success, an empty one for 204. Errors: all of `VaultError`."""
    if status == 204:
        return {}
    answer = _object(text)
    if 200 <= status < 300:
        if answer is None:
            raise NetworkError("the answer is no JSON object", status)
        return answer
    error = (answer or {}).get("error")
    if not isinstance(error, dict):
        # Whatever stands before a vault says these without being one.
        if status == 429:
            raise RateLimitError("Too many calls.", wait_of(headers), status)
        if status in (502, 503, 504):
            raise UnavailableError("UNAVAILABLE", f"The vault is not to be had ({status}).", status)
        raise NetworkError("the answer is none of a vault's", status)
    raise _error(status, error, wait_of(headers), sensitive)


def code_of(text: bytes) -> str | None:
    """The vault's own word for a refusal."""
    error = (_object(text) or {}).get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else None


def wait_of(headers: httpx.Headers) -> float | None:
    """`Retry-After` in seconds (RFC 9110 section 10.2.3). A date counts from the answer's own: this clock may be wrong."""
    text = headers.get("retry-after")
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return float(text)
    try:
        seconds = (parsedate_to_datetime(text) - parsedate_to_datetime(headers["date"])).total_seconds()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        # Its words quote the text.
        return None
    return answer if isinstance(answer, dict) else None


def _error(status: int, error: Mapping[str, Any], retry_after: float | None, sensitive: tuple[str, ...]) -> VaultError:
    code = error.get("code")
    code = code if isinstance(code, str) and re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", code) else "UNKNOWN_ERROR"
    message = _plain(error.get("message"), sensitive)
    request_id = error.get("request_id")
    request = request_id if isinstance(request_id, str) and re.fullmatch(r"[\w.:-]{1,128}", request_id) else None
    if code == "APPROVAL_REQUIRED":
        approval = error.get("approval_id")
        return ApprovalRequiredError(message, approval if isinstance(approval, str) else None, status, request)
    if status == 429:
        return RateLimitError(message, retry_after, status, request)
    return _kind(status, code)(code, message, status, request)


def _kind(status: int, code: str) -> type[VaultError]:
    if status == 404:
        return SecretNotFoundError if code == "SECRET_NOT_FOUND" else NotFoundError
    kinds = {401: AuthError, 403: ScopeError, 409: ConflictError, 410: SecretExpiredError}
    found = kinds.get(status)
    if found is not None:
        return found
    return UnavailableError if status >= 500 else ValidationError


def _plain(message: object, sensitive: tuple[str, ...]) -> str:
    """The vault's words, short and on one line, without anything that was sent."""
    if not isinstance(message, str) or any(one and one in message for one in sensitive):
        return "The vault refused."
    line = re.sub(r"[^\x20-\x7e]+", " ", message).strip()
    return line[:_LONGEST_WORDS] or "The vault refused."
