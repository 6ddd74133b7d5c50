"""Async client of the Sidekey vault, by the call styles of Agent Secret Store (both of its API generations)."""

from ._client import AgentVault
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
from ._models import AuditPage, ImportResult, Secret, SecretInfo, Token

__all__ = [
    "AgentVault",
    "ApprovalRequiredError",
    "AuditPage",
    "AuthError",
    "ConflictError",
    "ImportResult",
    "NetworkError",
    "RateLimitError",
    "ScopeError",
    "Secret",
    "SecretInfo",
    "SecretNotFoundError",
    "Token",
    "ValidationError",
    "VaultError",
]
