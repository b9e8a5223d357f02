"""Finds pipelines in the user's Python by `module:object`."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dspy

from pipelines.spec.tunable import Tunable
from search_spaces.refusals import nearest

IN_PYTHON = re.compile(r"[\w.]+:\w+")
"""How an object of a module is named."""


def pipeline_object(text: str) -> Tunable | dspy.Module:
    """The pipeline that `module:object` stands for, or that the function of this name returns.

    Raises:
        ValueError: there is no such module or object, it fails, or it is no pipeline.
    """
    name, _, attribute = text.partition(":")
    with _own_code(f"{text}: module {name!r} can't be imported"):
        module = importlib.import_module(name)
    if not hasattr(module, attribute):
        public = [known for known in vars(module) if not known.startswith("_")]
        hint = nearest(attribute, public)
        raise ValueError(f"{text}: module {name!r} has no {attribute!r}{hint}")
    made: Any = getattr(module, attribute)
    if callable(made) and not isinstance(made, Tunable | dspy.Module):
        rule = f"{text} must be a pipeline, or a function of no arguments that returns one"
        with _own_code(f"{rule}, but calling it failed"):
            made = made()
    if not isinstance(made, Tunable | dspy.Module):
        raise ValueError(
            f"{text} must be a Pipeline, a DSPy program, or a function that returns one, "
            f"but got {made!r}"
        )
    return made


@contextmanager
def _own_code(problem: str) -> Iterator[None]:
    """Whatever the user's code raises within it is an error of this text; `sys.exit`, too."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise ValueError(f"{problem}: {type(error).__name__}: {error}") from error
