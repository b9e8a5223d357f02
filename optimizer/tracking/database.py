"""MLflow's SQLite database, created whole or not at all.

MLflow itself makes its tables one after the other in place: a process that is killed meanwhile, or
two at once, leave a database that can never be used.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import filelock

logger = logging.getLogger(__name__)

LONGEST_S = 60.0
"""The longest wait for another process of ours that creates it, which takes seconds."""
AT_REST_S = 3.0
"""A half-created database without a write for this long counts as abandoned."""
_FILES = ("-journal", "-wal", "-shm", "")
_BY_MIGRATIONS = {"alembic_version", "workspaces"}
"""Tables that have a row before MLflow has finished."""


def ensure_database(path: Path, *, ours: bool) -> None:
    """Create the database if there is none; processes that do so at once end up with one.

    A half-created one, which is empty, is renamed only if it is `ours`, in the default place.

    Raises:
        OSError: the folder can't be written, or another process takes too long.
        sqlite3.Error: the file can't be read.
    """
    if not is_unfinished(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{path}.lock", timeout=LONGEST_S):
        while is_unfinished(path):
            if (rest_s := AT_REST_S - _unwritten_s(path)) > 0:
                time.sleep(min(rest_s, 0.1))  # another program may be creating it
            elif _size(path) == 0:
                _create(path)
            elif ours:
                _set_aside(path)
            else:
                return


def is_unfinished(path: Path) -> bool:
    """Whether there is none, or MLflow did not finish it: the default experiment comes last."""
    if _size(path) == 0:
        return True
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=3)) as database:
        tables = {name for (name,) in database.execute("SELECT tbl_name FROM sqlite_master")}
        return bool(tables & {"experiments", "alembic_version"}) and not any(
            database.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone()
            for table in tables - _BY_MIGRATIONS
        )


def _create(path: Path) -> None:
    """Create it under another name, then move it, unless another program was faster."""
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    draft = path.with_name(f"{path.name}.new")
    for end in _FILES:  # of a process that was killed
        Path(f"{draft}{end}").unlink(missing_ok=True)
    store = SqlAlchemyStore(  # type: ignore[no-untyped-call]
        f"sqlite:///{draft.as_posix()}", DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    )
    store.engine.dispose()
    if _size(path) == 0:
        draft.replace(path)


def _set_aside(path: Path) -> None:
    aside = f"{path}.broken-{time.strftime('%Y%m%d-%H%M%S')}"
    for end in _FILES:
        if Path(f"{path}{end}").exists():
            Path(f"{path}{end}").rename(f"{aside}{end}")
    logger.warning(
        "MLflow's database %s was half created, with nothing in it, and could not be used: it is "
        "now %s, and a new one is created",
        path, aside,
    )  # fmt: skip


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _unwritten_s(path: Path) -> float:
    """Seconds since the file was written to; infinite if there is none."""
    since = time.time() - path.stat().st_mtime if path.exists() else math.inf
    return since if since >= 0 else math.inf  # a clock that was put back
