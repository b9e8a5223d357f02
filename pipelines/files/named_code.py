"""Lists the code that a pipeline's YAML form names, before any of it is imported."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from pipelines.errors import PipelineError
from pipelines.modules.functions import OWN
from pipelines.modules.signature import modules_of_types

_REFERENCE = re.compile(r"(?<![\w/.:-])[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(?![\w/:-])")
_CODE = ("function", "factory", "program")
_NETWORKS = ("aggregator", "model")
"""Keys of texts in the notation, which names aggregators and their functions."""


def named_code(form: Any, key: str = "") -> Iterator[str]:
    """Each `package.module:name`, and each module of a type, in the order of the form."""
    if isinstance(form, Mapping):
        for inner, value in form.items():
            yield from named_code(value, key if inner == "name" else str(inner))
    elif isinstance(form, list):
        for value in form:
            yield from named_code(value, "")
    elif not isinstance(form, str):
        return
    elif key.endswith(_CODE) and ":" in form:
        yield from {form} - OWN
    elif key == "signature":
        with suppress(PipelineError):
            yield from modules_of_types(form)
    elif key in _NETWORKS:
        names_model = key == "model" and "->" not in form
        yield from () if names_model else _REFERENCE.findall(form)
