"""What a command works on: a pipeline in YAML, or an object of the user's Python."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.refusals import nearest

if TYPE_CHECKING:
    import dspy

    from pipelines import Tunable

_IN_PYTHON = re.compile(r"[\w.]+:\w+")


def load_target(text: str, *, allow_code: bool = False) -> Tunable | dspy.Module:
    """The pipeline that a command names.

    Args:
        text: a path of YAML, or `module:object`; the module is found from the working folder.
        allow_code: whether YAML may name functions, which loading imports.

    Raises:
        ValueError: there is no such module or object, it fails, or it is no pipeline.
        OSError: the file can't be read.
        PipelineError: as of `Pipeline.load`.
    """
    if _IN_PYTHON.fullmatch(text) and not Path(text).exists():
        return _from_python(text)
    from pipelines import Pipeline

    return Pipeline.load(text, allow_code=allow_code)


def _from_python(text: str) -> Tunable | dspy.Module:
    import dspy

    from pipelines import Tunable

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
