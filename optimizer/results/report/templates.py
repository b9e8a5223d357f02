"""The environment of the page's templates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from optimizer import formatting
from optimizer.search.records.config_changes import config_changes
from optimizer.search.records.trial import config_text, shortened

if TYPE_CHECKING:
    import jinja2

SOFT, TUNED = "var(--soft, #6b7280)", "#10b981"
"""Colours of figures; those that the page names follow the system."""
_FILTERS = (
    formatting.counted, formatting.dollars, formatting.percent, formatting.percent_interval,
    formatting.points, formatting.seconds, formatting.setting, config_changes, config_text,
    shortened,
)  # fmt: skip


def templates(redact: Callable[[str], str]) -> jinja2.Environment:
    """The templates. Everything that a user or a model wrote is escaped, without secrets."""
    import jinja2  # comes with mlflow and litellm
    from markupsafe import Markup

    def written(value: Any) -> Any:
        if isinstance(value, float):
            return f"{value:g}"
        plain = isinstance(value, str) and not isinstance(value, Markup)
        return redact(value) if plain else value  # before it is escaped, which may hide a secret

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("optimizer.results.report"),
        autoescape=True,
        finalize=written,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {each.__name__: each for each in _FILTERS}
    made.globals |= {"SOFT": SOFT, "LINE": "var(--line, #d1d5db)", "TUNED": TUNED, "NAN": math.nan}
    made.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    return made
