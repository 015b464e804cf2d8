"""What failures of drivers mean, in our own sentences."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from storage.errors import DatabaseBusy, DatabaseUnavailable, InvalidValue, StorageError

_BUSY_STATES = {"40001", "40P01", "55P03", "53300", "57014"}
"""serialisation failure, deadlock, lock not available, too many connections, statement timeout"""
_DATA_EXCEPTION = "22"


@contextmanager
def translated() -> Iterator[None]:
    """Turns what drivers raise into our own sentences; broken rules of tables and SQL stay as they are."""
    try:
        yield
    except StorageError:
        raise
    except PoolTimeout as error:
        raise DatabaseBusy("All connections to the database are in use. Try again in a moment.") from error
    except (IntegrityError, ProgrammingError):
        raise
    except DataError as error:
        raise InvalidValue("The database cannot hold one of the values.") from error
    except DBAPIError as error:
        raise _meaning(error) from error
    except sqlite3.DataError as error:
        raise InvalidValue("The database cannot hold one of the values.") from error
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.Error as error:
        raise _sqlite_meaning(str(error)) from error
    except OverflowError as error:
        raise InvalidValue("A number is too large for the database.") from error
    except (OSError, TimeoutError) as error:
        raise DatabaseUnavailable("The database does not answer. Try again in a moment.") from error


def _meaning(error: DBAPIError) -> StorageError:
    state = getattr(error.orig, "sqlstate", None)
    words = str(error.orig)
    if state is not None and state.startswith(_DATA_EXCEPTION):  # SQLAlchemy has no class for asyncpg's
        return InvalidValue("The database cannot hold one of the values.")
    if state is None:
        return _sqlite_meaning(words)
    if state in _BUSY_STATES:
        return DatabaseBusy("The database is busy. Try again in a moment.")
    return DatabaseUnavailable("The database could not do this. Try again in a moment.")


def _sqlite_meaning(words: str) -> StorageError:
    if "database is locked" in words:
        return DatabaseBusy("The database is busy. Try again in a moment.")
    return DatabaseUnavailable("The database could not do this. Try again in a moment.")
