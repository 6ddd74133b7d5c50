"""Async client of the Sidekey vault, by the call styles of Agent Secret Store (both of its API generations)."""

from ._client import AgentVault
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
from ._models import AuditPage, ImportResult, Secret, SecretInfo, Token

__all__ = [
    "AgentVault",
    "ApprovalRequiredError",
    "AuditPage",
    "AuthError",
    "ConflictError",
    "ImportResult",
    "NetworkError",
    "NotFoundError",
    "RateLimitError",
    "ScopeError",
    "Secret",
    "SecretExpiredError",
    "SecretInfo",
    "SecretNotFoundError",
    "Token",
    "UnavailableError",
    "ValidationError",
    "VaultError",
]
