"""What may go wrong with what survives a restart: sentences with a stable code, and whether trying again may help."""

from __future__ import annotations


class StorageError(Exception):
    """A refusal: `code` is stable, `message` is a sentence for people, `retryable` says whether time may mend it."""

    code = "internal"
    retryable = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class DatabaseMisconfigured(StorageError):
    """An address or a server that must not be used; the sentence says what to change."""

    code = "database_misconfigured"


class DatabaseBusy(StorageError):
    """A lock or a connection was not free in time, or the database asks to try again; nothing was changed."""

    code = "database_busy"
    retryable = True


class DatabaseUnavailable(StorageError):
    """The database did not answer; what was being committed may or may not have been."""

    code = "database_unavailable"
    retryable = True


class InvalidValue(StorageError):
    """A value that the database cannot hold; nothing was changed."""

    code = "invalid_value"


class LogFull(StorageError):
    """Too much waits for its commit, and the wait for a place was too long; nothing was logged."""

    code = "log_full"
    retryable = True


class LogClosed(StorageError):
    """The log takes no more; nothing was logged."""

    code = "log_closed"
    retryable = True


class AppendFailed(StorageError):
    """An append failed in the batch and alone; after a lost connection it may be in the log all the same."""

    code = "append_failed"
    retryable = True


class AppendTooLarge(StorageError):
    code = "append_too_large"


class BodyTooLarge(StorageError):
    code = "body_too_large"


class MessageConflict(StorageError):
    """The client message id is taken in this stream by another body, kind or author; nothing was changed."""

    code = "message_conflict"


class DesignExists(StorageError):
    """The id is taken within its brand, for good, by a design that may have been deleted since."""

    code = "design_exists"

    def __init__(self, message: str, *, deleted: bool) -> None:
        super().__init__(message)
        self.deleted = deleted


class DesignNotFound(StorageError):
    """Absent, deleted, or of another brand: the three answer alike (rule D1)."""

    code = "not_found"


class InvalidCursor(StorageError):
    code = "invalid_cursor"


class BlobNotStored(StorageError):
    """The disk refused; nothing can be read under the name."""

    code = "blob_not_stored"
    retryable = True


class BlobDamaged(StorageError):
    """What is on the disk is not what its name says; it is never served."""

    code = "blob_damaged"
