"""The few statements that every search runs, on SQLite's own connection."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa


def hot(tx: sa.Connection, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run a statement in the transaction and return its rows.

    SQLAlchemy's compilation and row objects would take longer than these queries do.
    """
    driver: Any = tx.connection.driver_connection
    rows: list[tuple[Any, ...]] = driver.execute(statement, values).fetchall()
    return rows
