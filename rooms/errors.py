"""What may go wrong in a room: sentences with a stable code, and whether trying again may help."""

from __future__ import annotations


class RoomError(Exception):
    """A refusal: `code` is stable, `message` is a sentence for people, `retryable` says whether time may mend it."""

    code = "internal"
    retryable = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotPermitted(RoomError):
    code = "not_permitted"

    def __init__(self, role: str, action: str) -> None:
        super().__init__(f"A {role} may not {action} here. Ask an owner of the design for another role.")
        self.role = role
        self.action = action


class NotFound(RoomError):
    """Absent, or of another brand: the two answer alike (RULE A10)."""

    code = "not_found"

    def __init__(self, what: str) -> None:
        super().__init__(f"There is no such {what}.")


class InvalidUpdate(RoomError):
    code = "invalid_update"


class LimitExceeded(RoomError):
    """A named limit; `limit` is its setting's name, `maximum` its value with its unit in the name."""

    code = "limit_exceeded"

    def __init__(self, limit: str, maximum: int | float, message: str) -> None:
        super().__init__(message)
        self.limit = limit
        self.maximum = maximum


class Overloaded(RoomError):
    code = "overloaded"
    retryable = True


class Unavailable(RoomError):
    """The database, a worker or the bus did not answer in time; nothing was changed."""

    code = "unavailable"
    retryable = True


class WorkerError(RoomError):
    retryable = True


class WorkerTimeout(WorkerError):
    code = "worker_timeout"


class WorkerDied(WorkerError):
    code = "worker_died"


class WorkersBusy(WorkerError):
    code = "workers_busy"


class TaskFailed(RoomError):
    """A task refused its input: `code` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
