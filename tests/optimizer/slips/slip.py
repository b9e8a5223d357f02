"""One mistake of a new user, and the words that its message must have."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from optimizer.cli import main
from pipelines import Pipeline
from tests.optimizer.runs import tune


class Slip(NamedTuple):
    """What somebody does, and what must be in the message: the value, the rule and the mend."""

    what: str
    do: Callable[[], Any]
    words: tuple[str, ...]


def slip(what: str, do: Callable[[], Any], *words: str) -> Slip:
    return Slip(what, do, words)


def tuning(what: str, *words: str, **arguments: Any) -> Slip:
    """An argument of `optimize`."""
    return Slip(what, lambda: tune(**arguments), words)


def in_file(name: str, text: str, *words: str, encoding: str = "utf-8", **arguments: Any) -> Slip:
    """A dataset in a file."""

    def read() -> Any:
        Path(name).write_bytes(text.encode(encoding))
        return tune(name, **arguments)

    return Slip(f"{name}: {text[:30]!r} {encoding}", read, words)


def in_yaml(text: str, *words: str, **how: Any) -> Slip:
    """A pipeline in YAML."""
    return Slip(
        f"YAML: {text[-50:]!r} {how}",
        lambda: Pipeline.from_yaml(text, "pipeline.yaml", **how),
        words,
    )


def command(line: str, *words: str) -> Slip:
    """A line for the shell; its message is what it prints."""

    def run() -> None:
        code = main(line.split())
        assert code == 2, f"exit code {code}"
        raise SystemExit(2)

    return Slip(f"compound-optimizer {line}", run, words)


def with_environment(settings: Mapping[str, str], given: Slip) -> Slip:
    """The same where environment variables are set."""

    def run() -> Any:
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        try:
            return given.do()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    return Slip(f"{given.what} with {dict(settings)}", run, given.words)
