"""A folder of the user's that is named like one of our packages."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.launching import REPOSITORY, run_python


def run_script(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run a script in this folder, whose own folder comes first on `sys.path`."""
    script = folder / "script.py"
    script.write_text(program, encoding="utf-8")
    return run_python(str(script))


@pytest.mark.parametrize("room", ["search_spaces", "pipelines", "evaluators"])
def test_the_import_error_names_the_folder_that_hides_a_room(room: str, tmp_path: Path) -> None:
    (tmp_path / room).mkdir()
    (tmp_path / room / "__init__.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    done = run_script(tmp_path, "from optimizer import optimize")
    assert done.returncode == 1
    assert f"ImportError: compound-optimizer's own package {room!r} is" in done.stderr
    assert f"but Python finds {tmp_path / room}: rename yours" in done.stderr


def test_so_does_that_for_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "evaluators.py").touch()
    done = run_script(tmp_path, "import optimizer")
    assert f"but Python finds {tmp_path / 'evaluators.py'}" in done.stderr


def test_other_folders_do_no_harm_and_importing_stays_quick(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    late = (
        "print([m for m in ('dspy', 'litellm', 'mlflow', 'optuna', 'scipy') if m in sys.modules])"
    )
    done = run_script(tmp_path, f"import sys\nfrom optimizer import Budget\n{late}")
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_another_copy_of_ours_does_no_harm(tmp_path: Path) -> None:
    copy = tmp_path / "code"
    for room in ("search_spaces", "pipelines", "evaluators", "optimizer"):
        shutil.copytree(REPOSITORY / room, copy / room)
    program = f"""
import pipelines, sys
sys.path.insert(0, {str(copy)!r})  # as MLflow does with a model's code
import optimizer
print(optimizer.__file__)
"""
    done = run_script(tmp_path, program)
    assert (done.stdout.strip(), done.stderr) == (str(copy / "optimizer" / "__init__.py"), "")
