"""Figures as JSON, for `--json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TextIO


def print_json(figures: Mapping[str, Any], file: TextIO) -> None:
    """Print figures without secrets; what has no value is null."""
    from pipelines.gateway.secrets import plain_json, redactor

    print(json.dumps(plain_json(figures, redactor()), indent=1, ensure_ascii=False), file=file)
