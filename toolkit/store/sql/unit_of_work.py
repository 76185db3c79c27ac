"""One transaction: leaving the block rolls back, only ``commit()`` keeps."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from toolkit.errors import StoreError
from toolkit.execution.principal import Principal

__all__ = ["DatabaseBusy", "Principal", "UnitOfWork"]

READ_ONLY = "seatrial_read_only"
_ATTEMPTS = 4


class DatabaseBusy(StoreError):
    """Raised when the database stayed locked by somebody else through the bounded retries."""

    retryable = True


class UnitOfWork:
    """A transaction on the database, made by a principal.

    Parameters
    ----------
    engine
        From ``toolkit.store.sql.engine.open_database``.
    principal
        Who acts; repositories check rights against it.
    write
        A writing transaction takes SQLite's write lock at once (BEGIN IMMEDIATE), so that it can never fail half-way with
        "database is locked"; a reading one does not take it.

    Examples
    --------
    >>> with UnitOfWork(engine, principal) as work:  # doctest: +SKIP
    ...     work.connection.execute(...)
    ...     work.commit()
    """

    def __init__(self, engine: Engine, principal: Principal, *, write: bool = True) -> None:
        self.engine = engine
        self.principal = principal
        self._write = write
        self._connection: Connection | None = None
        self._session: Session | None = None

    def __enter__(self) -> Self:
        self._connection = self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._session is not None:
                self._session.close()
        finally:
            connection, self._connection, self._session = self._connection, None, None
            if connection is not None:
                connection.close()  # an open transaction is rolled back by the pool
        if isinstance(error, OperationalError):
            raise _named(
                error
            ) from error  # a disk or a lock, not a mistake of ours: callers know what may be tried again

    @property
    def connection(self) -> Connection:
        """The Core connection, inside the transaction."""
        if self._connection is None:
            raise StoreError("a unit of work must be entered before it is used: write `with UnitOfWork(...) as work`")
        return self._connection

    @property
    def session(self) -> Session:
        """An ORM session on the same transaction; flushed by ``commit()``."""
        if self._session is None:
            self._session = Session(bind=self.connection, autoflush=True, expire_on_commit=False)
        return self._session

    def commit(self) -> None:
        """Make everything done so far durable; the block may go on with a new transaction afterwards."""
        if self._session is not None:
            self._session.flush()
        connection = self.connection
        try:
            connection.commit()
        except OperationalError as error:
            # The database may still hold the transaction open, and the pool would not roll it back: it thinks that a
            # commit, good or bad, ends one. Whoever got this connection next could never begin.
            connection.invalidate(error)
            raise _named(error) from error

    def rollback(self) -> None:
        """Forget everything since the last commit."""
        if self._session is not None:
            self._session.expunge_all()
        self.connection.rollback()

    def _connect(self) -> Connection:
        try:
            return self.engine.connect()
        except OperationalError as error:  # it could not even be opened, or its first words failed
            raise _named(error) from error

    def _begin(self) -> Connection:
        for attempt in range(_ATTEMPTS):
            connection = self._connect()
            try:
                if not self._write:
                    connection = connection.execution_options(**{READ_ONLY: True})
                    if connection.dialect.name == "postgresql":
                        # Read committed gives every statement a snapshot of its own anyway: without BEGIN and ROLLBACK
                        # around them each reading block saves two round trips on the way of an order.
                        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.begin()
            except OperationalError as error:
                connection.close()
                if not is_busy(error):
                    raise _named(error) from error
                if attempt + 1 == _ATTEMPTS:
                    raise DatabaseBusy(
                        f"the database stayed locked through {_ATTEMPTS} attempts: another process holds a long transaction"
                    ) from error
                time.sleep(0.05 * 2**attempt)
            except BaseException:
                connection.close()
                raise
            else:
                return connection
        raise AssertionError("unreachable")


def is_busy(error: OperationalError) -> bool:
    """Whether the error says that somebody else holds a lock, so that the same transaction may succeed later."""
    text = str(error.orig).lower()
    return "locked" in text or "busy" in text or "lock timeout" in text or "deadlock" in text


def _named(error: OperationalError) -> StoreError:
    if is_busy(error):
        return DatabaseBusy(str(error.orig))
    return StoreError(f"the database refused the transaction: {error.orig}")
