"""The tracking store, and a quick check whether it can be written to.

MLflow's own client retries for minutes before it reports that a server or a database is away.
"""

from __future__ import annotations

import http.client
import re
import sqlite3
import tempfile
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from optimizer.formatting import without_credentials

_PROBE_S = 3.0
_SQLITE = "sqlite:///"
_SLIPS = (
    (r"(?=[\w.-]+:\d+(/|$))", "http://"),
    (r"sqlite:/{0,2}(?=[^/])", _SQLITE),
    (r"postgres://", "postgresql://"),
)
"""Beginnings of misspelt addresses, which MLflow has no store for, and their corrections."""


@dataclass(frozen=True)
class TrackingStore:
    """One MLflow tracking store."""

    uri: str
    """As MLflow takes it; may hold a password."""
    artifact_location: str | None = None
    """Where new experiments keep their artifacts; None leaves it to the store."""

    @property
    def shown(self) -> str:
        """The address without user name and password."""
        return without_credentials(self.uri)

    def problem(self) -> str | None:
        """Why it can't be written to now; None if it can, or if only trying will tell.

        Takes 3 seconds at most.
        """
        if self.uri.startswith(("http://", "https://")):
            return _http_problem(self.uri)
        return _sqlite_problem(self.database) if self.database else None

    @property
    def database(self) -> Path | None:
        """The file of an SQLite database."""
        named = self.uri.removeprefix(_SQLITE)
        return Path(named) if named not in ("", self.uri) and ":memory:" not in named else None

    @property
    def is_default(self) -> bool:
        """Whether it is the default store."""
        return self.artifact_location is not None


def chosen_store() -> TrackingStore:
    """What `MLFLOW_TRACKING_URI` or `mlflow.set_tracking_uri` says, else `mlruns/` in this folder.

    Paths become absolute, so that a later change of folder changes nothing.

    Raises:
        ValueError: the address is misspelt; names the nearest.
    """
    import mlflow

    if mlflow.is_tracking_uri_set():  # type: ignore[no-untyped-call]
        _check(mlflow.get_tracking_uri())
        return TrackingStore(_absolute(mlflow.get_tracking_uri()))
    folder = Path("mlruns").resolve()
    database = _SQLITE + (folder / "mlflow.db").as_posix()
    return TrackingStore(database, (folder / "artifacts").as_uri())


def _check(uri: str) -> None:
    """Raises ValueError for a misspelt address, with its correction."""
    for slip, meant in _SLIPS:
        if re.match(slip, uri):
            raise ValueError(
                "the tracking store must be an address such as http://localhost:5000 or "
                f"sqlite:///mlflow.db, but is {without_credentials(uri)!r}; nearest: "
                f"{without_credentials(re.sub(slip, meant, uri, count=1))!r} "
                "(MLFLOW_TRACKING_URI, or mlflow.set_tracking_uri)"
            )


def _absolute(uri: str) -> str:
    database = TrackingStore(uri).database
    return _SQLITE + database.resolve().as_posix() if database else uri


def _http_problem(uri: str) -> str | None:
    """Any answer but a 5xx means that a server is there."""
    request = urllib.request.Request(without_credentials(uri).rstrip("/") + "/health")
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_S):
            return None
    except urllib.error.HTTPError as error:
        with error:
            return f"it answers {error.code} {error.reason}" if error.code >= 500 else None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        return None if "CERTIFICATE" in str(reason) else f"{urlsplit(uri).hostname}: {reason}"
    except ValueError as error:  # no address at all
        return str(error)


def _sqlite_problem(path: Path) -> str | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():  # the check must not create it
            with tempfile.TemporaryFile(dir=path.parent):
                return None
        with closing(sqlite3.connect(path, timeout=_PROBE_S, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except (OSError, sqlite3.Error) as error:
        return str(error)
    return None
