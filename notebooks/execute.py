"""Runs the notebooks and writes their outputs, as they are committed.

    python notebooks/execute.py [quickstart ...]

Each runs in an empty folder with a cache of its own, so that no output depends on earlier runs.
`cost-and-quality` needs `COMPOUND_OPTIMIZER_SHARED_DATA`.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_PROGRESS = re.compile(r"[\w-]+(, turn \d+)?: .* calls(, \d+ trials?)?")


def main(names: Sequence[str]) -> None:
    for name in names or sorted(path.stem for path in FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            path = FOLDER / f"{name}.ipynb"
            nbformat.write(executed(path, Path(folder)), path)  # type: ignore[no-untyped-call]


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook after a run in `folder`, without what differs from machine to machine.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raises.
    """
    notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(
        notebook, timeout=300, resources=resources, record_timing=False, coalesce_streams=True
    ).execute(env=_environment(folder))
    notebook.metadata = nbformat.from_dict(METADATA)  # type: ignore[no-untyped-call]
    for cell in notebook.cells:
        cell.metadata.clear()
        if cell.cell_type == "code":
            cell.outputs = [_relative(each, folder) for each in cell.outputs if not _progress(each)]
    return notebook


def _environment(folder: Path) -> dict[str, str]:
    """That of the kernel: this process's, without its own stores and without what prints times."""
    left_out = ("MPLBACKEND", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME")
    return {name: value for name, value in os.environ.items() if name not in left_out} | {
        # commands are printed with a path where they are not on this one
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": str(FOLDER.parent),
        "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm's, where there is no ipywidgets
        "COMPOUND_OPTIMIZER_CACHE": str(folder / "cache"),
        "IPYTHONDIR": str(folder / "ipython"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }


def _progress(output: nbformat.NotebookNode) -> bool:
    """Whether it is what a search of more than a few seconds reports of its progress."""
    lines = output.text.splitlines() if output.get("name") == "stderr" else [""]
    return all(_PROGRESS.fullmatch(line) for line in lines)


def _relative(output: Any, folder: Path) -> Any:
    """With the paths of files in the folder as seen from there."""
    if isinstance(output, str):
        return output.replace(f"{folder}/", "")
    if isinstance(output, dict):
        for key, value in output.items():
            output[key] = _relative(value, folder)
    return output


if __name__ == "__main__":
    main(sys.argv[1:])
