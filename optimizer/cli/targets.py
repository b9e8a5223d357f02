"""What a command reads, a pipeline in YAML or of the user's Python, and what it writes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import dspy

from pipelines import Pipeline, Tunable
from pipelines.files.python_objects import IN_PYTHON, pipeline_object
from pipelines.gateway.secrets import plain_json, redactor


def load_target(
    text: str, *, allow_code: bool = False, program: str | None = None
) -> Tunable | dspy.Module:
    """The pipeline in a YAML file, or at `module:object`, found from the working folder.

    `program` is the `module:object` of the DSPy program that YAML was tuned for.

    Raises:
        ValueError: there is no such module or object, it fails, or it is no pipeline.
        OSError: the file can't be read.
    """
    if IN_PYTHON.fullmatch(text) and not Path(text).exists():
        if program is not None:
            raise ValueError(f"--program is for pipelines in YAML, but PIPELINE is {text}")
        return pipeline_object(text)

    path = Path(text)
    if path.suffix.lower() in (".jsonl", ".json", ".csv", ".tsv", ".parquet"):
        raise ValueError(f"PIPELINE comes first, then DATASET, but got {text!r} as the pipeline")
    if path.suffix == ".py" or not (path.exists() or path.suffix in (".yaml", ".yml")):
        raise ValueError(
            f"PIPELINE must be a YAML file or `module:object`, such as {path.stem or 'mine'}:"
            f"pipeline for what a script of this folder defines, but got {text!r}"
        )
    return load_yaml(text, allow_code=allow_code, program=program)


def load_yaml(path: str, *, allow_code: bool = False, program: str | None = None) -> Tunable:
    """The pipeline in a YAML file; arguments and errors as `load_target`."""
    if program is None:
        return Pipeline.load(path, allow_code=allow_code)
    if not IN_PYTHON.fullmatch(program):
        raise ValueError(
            f"--program must be `module:object`, such as {Path(program).stem}:program, "
            f"but got {program!r}"
        )
    made = pipeline_object(program)
    if not isinstance(made, dspy.Module):
        raise ValueError(f"--program {program} must be a DSPy program, but is a pipeline")
    return Pipeline.load(path, allow_code=allow_code, program=made)


def writable(option: str, path: str | Path) -> Path:
    """The path of a file that can be written, once its folders are made; checked before long work.

    Raises:
        ValueError: it is a folder, its folders can't be made, or writing is not allowed.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{option} must name a file, but {path} is a folder")
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if there != path and not there.is_dir():
        raise ValueError(f"{option} {path} can't be written: {there} is a file, not a folder")
    if not os.access(there, os.W_OK):
        raise ValueError(f"{option} {path} can't be written: {there} is read-only")
    return path


def replaces(path: Path) -> str:
    """A remark about a file that is about to be overwritten."""
    return " (replaces the file that was there)" if path.exists() else ""


def write_text(path: Path, text: str, what: str = "written") -> None:
    """Write the file, and print that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replaced = replaces(path)
    path.write_text(text, encoding="utf-8")
    print(f"{path}: {what}{replaced}")


def print_json(figures: Mapping[str, Any], file: TextIO) -> None:
    """Print figures without secrets; what has no value is null."""
    print(json.dumps(plain_json(figures, redactor()), indent=1, ensure_ascii=False), file=file)
