"""The error of a pipeline, its YAML or its config that breaks a rule."""

from __future__ import annotations

Location = tuple[str | int, ...]
"""A place in a pipeline's YAML form: keys and list indices, such as `("modules", 1, "name")`."""


class PipelineError(ValueError):
    """A rule that a pipeline, its YAML form, its config or its inputs break.

    The message names the value, the rule and, for a misspelt name, the nearest valid one; the
    line is there when the pipeline came from YAML.
    """

    def __init__(
        self, message: str, at: Location = (), *, line: int | None = None, source: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.line = line
        """Line in the YAML text, from 1; None when it did not come from YAML."""
        self.source = source
        """The YAML file's path, if it was read from one."""

    def within(self, *place: str | int) -> PipelineError:
        """The same error, its location seen from further out."""
        return PipelineError(self.message, (*place, *self.at), line=self.line, source=self.source)

    def __str__(self) -> str:
        place = [self.source] if self.source else []
        if self.line is not None:
            place.append(f"line {self.line}")
        return f"{', '.join(place)}: {self.message}" if place else self.message
