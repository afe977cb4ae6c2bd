"""Who changed what: an append-only record, each entry chained to the one before by a hash."""

from agentrail.audit._chain import (
    SCHEMA,
    Audit,
    AuditEntry,
    AuditFault,
    AuditReport,
    append,
    entries,
    verify,
)

__all__ = [
    "SCHEMA",
    "Audit",
    "AuditEntry",
    "AuditFault",
    "AuditReport",
    "append",
    "entries",
    "verify",
]
