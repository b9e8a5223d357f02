"""Removes secrets, and what no file takes, from everything that is written."""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

_SECRET = re.compile(r"SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_MAY_BE_SECRET = re.compile(r"KEY|TOKEN", re.IGNORECASE)
_LOOKS_LIKE_A_KEY = re.compile(r"(?=.*\d)(?=.*[A-Za-z])\S{12,}")
"""Not a word, as in `LABEL_TOKEN=positive`, which may be an answer."""
_GIVEN: dict[str, str] = {}
"""Keys given in code, by the variable that is written down for each, while the process lives."""
_SHORTEST = 8
"""Characters of a named key; shorter values are words, as `EMPTY` for a server without keys."""


def key_of(variable: str | None) -> str | None:
    """The key in this variable, or the one kept under its name; None without one."""
    return (os.environ.get(variable) or _GIVEN.get(variable)) if variable else None


def keep_key(key: str, variable: str) -> str:
    """Keep a key in memory and return the name by which `key_of` finds it.

    That is a variable that holds it already, else this one, with a number if it is taken.
    """
    for name, value in sorted(os.environ.items()):
        if value == key and _MAY_BE_SECRET.search(name):
            return name
    name, number = variable, 1
    while key_of(name) not in (None, key):
        number += 1
        name = f"{variable}_{number}"
    _GIVEN[name] = key
    return name


def redacted(text: str, *names: str | None) -> str:
    """The text without secrets: the values of environment variables are replaced by their names.

    Removed are keys given in code, the variables `names`, all variables called a secret, and
    those called a key or a token whose value looks like one.
    """
    return redactor(*names)(text)


def redactor(*names: str | None) -> Callable[[str], str]:
    """A function that does what `redacted` does, but reads the environment only once."""
    # item by item, `os.environ` decodes everything anew, which took a fifth of a call's CPU
    as_it_is = tuple(getattr(os.environ, "_data", os.environ).items())
    return _redactor(names, tuple(_GIVEN.items()), as_it_is)


@functools.lru_cache(maxsize=64)
def _redactor(
    names: tuple[str | None, ...], _given: object, _environment: object
) -> Callable[[str], str]:
    """As `redactor`; made anew when a key or a variable has changed."""
    secrets = []
    known = [*_GIVEN.items(), *os.environ.items()]
    for name, value in sorted(known, key=lambda item: -len(item[1])):
        named = name in names or name in _GIVEN or _SECRET.search(name)
        secret = named and len(value) >= _SHORTEST
        if secret or (_MAY_BE_SECRET.search(name) and _LOOKS_LIKE_A_KEY.fullmatch(value)):
            secrets.append((name, value))

    def redact(text: str) -> str:
        for name, value in secrets:
            text = text.replace(value, f"<{name}>")
        return text

    return redact


def plain_json(value: Any, redact: Callable[[str], str]) -> Any:
    """The value as JSON has it, without secrets; what JSON has no form for is text, keys too."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {redact(encodable(key)): plain_json(each, redact) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(each, redact) for each in value]
    return redact(encodable(value))


def encodable(sent: object) -> str:
    """As text without lone surrogates, such as `\\ud800`, which no request and no file takes."""
    return str(sent).encode(errors="replace").decode()
