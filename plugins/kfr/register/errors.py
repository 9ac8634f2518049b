"""What can go wrong with the outside world; the class alone says what may be done next.

    KfrError
    ├── Fatal                      a person must change something; trying again leads to the same
    │   ├── ConfigurationError     a field of the connection is missing or wrong
    │   │   └── CertificateError   the keystore or its certificate; ``code`` names the flaw
    │   ├── AccessRefused          the register does not let this institution in
    │   └── MaskinportenRefused    no token is given to this client
    ├── Retriable                  not done; the same call may be sent again, after ``retry_after``
    ├── OutcomeUnknown             sent, no answer: it may have been done; send the same bytes again
    └── Refused                    understood and turned down; the same bytes will be turned down again
        ├── InvalidIdentifier      KFR-005, ERR-002
        ├── InvalidDate            KFR-010, ERR-003
        ├── InvalidRequest         KFR-004, KFR-009, and any other 4xx
        └── NotRegistered          404 with KFR-008: there is no such relationship to remove

A message says the cause and the remedy. It never holds an identifier of a customer, a token, a key or
anything that the other side wrote as free text, because a refusal may quote the identifier it refuses.
"""
# ruff: noqa: N818 - the suffix "Error" would say less than the words chosen: the class is what may be done

from typing import ClassVar


class KfrError(Exception):
    """Any failure in talking to the register, to Maskinporten, or in being set up to.

    ``correlation_id`` is the one that was sent, for a support case; ``status`` the HTTP status, ``code``
    the other side's error code (``KFR-005``, ``MP-121``) or our own for a flaw (``expired``);
    ``operation`` what was being done (``send_file``); ``retry_after`` the seconds that the other side
    asked to wait before the next try. Each is None where there is none. ``runbook`` is the section of
    docs/runbook.md that says what to do, for the page and for the alert alike.
    """

    runbook: ClassVar[str] = "When something fails"

    def __init__(
        self,
        message: str,
        *,
        correlation_id: str | None = None,
        status: int | None = None,
        code: str | None = None,
        operation: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.correlation_id = correlation_id
        self.status = status
        self.code = code
        self.operation = operation
        self.retry_after = retry_after

    def __str__(self) -> str:
        facts = {
            "operation": self.operation,
            "status": self.status,
            "code": self.code,
            "CorrelationID": self.correlation_id,
        }
        known = ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
        return f"{self.args[0]} ({known})" if known else str(self.args[0])


class Fatal(KfrError):
    """Raised when a person must change something before it can work: settings, access, a certificate."""


class ConfigurationError(Fatal):
    """Raised when a field of the connection is missing, malformed or contradicts another.

    The message names the field, what is wrong with it and what to do; it never shows a secret.
    """


class CertificateError(ConfigurationError):
    """Raised when the enterprise certificate cannot be used; ``code`` is one of ``certificate.Flaw``."""

    runbook = "A new certificate"


class AccessRefused(Fatal):
    """Raised when the register refuses access: a fresh token was refused, or KFR-002, KFR-003, ERR-001."""


class MaskinportenRefused(Fatal):
    """Raised when Maskinporten gives no token for a reason that another try does not cure."""

    runbook = "No token"


class Retriable(KfrError):
    """Raised when a call was not carried out, or only read: the same call may be sent again."""


class OutcomeUnknown(KfrError):
    """Raised when a write was sent and no answer says whether it was carried out.

    A time-out or a reset after sending began, an answer that is not documented, or a 5xx. Sending the
    same bytes again is right; taking either outcome for granted is not.
    """


class Refused(KfrError):
    """Raised when a request was understood and turned down: the same bytes will be turned down again."""


class InvalidIdentifier(Refused):
    """Raised for KFR-005 and ERR-002. For a file: at least one of its identifiers, not said which."""


class InvalidDate(Refused):
    """Raised for KFR-010 (a date in a file) and ERR-003 (the period of a look-up)."""


class InvalidRequest(Refused):
    """Raised for KFR-004, KFR-009, 413, 415 and any 4xx that says nothing more."""


class NotRegistered(Refused):
    """Raised when a relationship to remove is not there: a 404 with KFR-008, and nothing else."""
