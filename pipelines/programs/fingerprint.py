"""A short text that stands for values of any length, such as a module's inputs."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping
from typing import Any


def fingerprint(values: Mapping[str, Any]) -> str | None:
    """64 hexadecimal digits that tell values apart wherever their exact JSON does.

    None if a value has no exact JSON.
    """
    try:
        text = json.dumps(values, sort_keys=True, default=_jsonable)
    except (TypeError, ValueError):
        return None
    return hashlib.sha256(text.encode()).hexdigest()


def _jsonable(value: Any) -> Any:
    """JSON that tells two values apart whenever they differ.

    Raises:
        TypeError: the value's type has no such form; its `str` may leave parts out.
    """
    if hasattr(value, "model_dump"):
        return [type(value).__qualname__, value.model_dump(mode="json")]
    if isinstance(value, datetime.date | datetime.time):
        return [type(value).__qualname__, value.isoformat()]
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return [str(value.dtype), value.tolist()]
    raise TypeError(f"no exact JSON for a {type(value).__name__}")
