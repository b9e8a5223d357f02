"""What every test gets: an empty working folder, no keys, no services, and steady randomness.

What takes seconds to make, a process that has imported everything and a tracking store, is made
once for all.

The network is locked by pytest-socket's `--allow-hosts` in pyproject.toml.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import benchmarks.worlds  # noqa: F401  simulated models can do all that the tests ask of them
from tests.launching import REPOSITORY, Launcher, launcher

# Before anything imports these libraries: they read their switches at import.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LITELLM_MODE"] = "PRODUCTION"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("MPLBACKEND", "Agg")

# A shell starts what runs in the background with ctrl-C ignored, which processes inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Timing is not a property here, and a failure must come again on the next run and on every machine.
settings.register_profile(
    "repository",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repository")


@pytest.fixture(autouse=True)
def _isolation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder with a cache of its own, without the developer's keys and store."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in list(os.environ):
        ours = name.startswith("COMPOUND_OPTIMIZER_") and name != "COMPOUND_OPTIMIZER_SHARED_DATA"
        store = name in {"MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_NAME"}
        if ours or store or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)
    yield
    if mlflow := sys.modules.get("mlflow"):  # a test may have set its own store
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; the test is skipped where there is none."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("COMPOUND_OPTIMIZER_SHARED_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; COMPOUND_OPTIMIZER_SHARED_DATA says where it is")
    return folder


@pytest.fixture(scope="session")
def launch(repository: Path) -> Iterator[Launcher]:
    """Starts processes that have imported everything already."""
    with launcher(repository) as started:
        yield started


@pytest.fixture(scope="session")
def ready_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty MLflow database: to copy it takes 0.02 s, to make it 1.2 s."""
    from optimizer.tracking.tracker import import_mlflow

    import_mlflow()
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("ready") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def default_store(ready_database: Path) -> str:
    """The store that is used by default, in the test's empty folder; its URI."""
    target = Path("mlruns").resolve() / "mlflow.db"
    target.parent.mkdir()
    shutil.copy(ready_database, target)
    return f"sqlite:///{target}"
