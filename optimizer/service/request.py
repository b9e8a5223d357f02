"""What is submitted: the arguments of `optimize`, as JSON."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationError

if TYPE_CHECKING:
    from pipelines.gateway.model import Model


def _bytes(given: Any) -> bytes:
    try:
        return given if isinstance(given, bytes) else base64.b64decode(given, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise ValueError("it must be bytes in base64") from None


Bytes = Annotated[
    bytes, PlainValidator(_bytes), PlainSerializer(lambda data: base64.b64encode(data).decode())
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Upload(_Strict):
    """A dataset that travels with the request."""

    name: Annotated[str, Field(max_length=255)]
    """Ends as its form says: .jsonl, .json, .csv, .tsv or .parquet."""
    content: Bytes


class SearchRequest(_Strict):
    """The arguments of `optimize`, which says what they mean."""

    pipeline: str
    """YAML text; with `folder`, a YAML file of that folder, or `module:object` of its Python."""
    folder: str | None = None
    """The name of a folder that the service allows, whose code may be run."""
    dataset: Upload | str
    """An upload, or a file below an allowed folder."""
    models: list[str] | None = None
    metric: str = "exact_match"
    budget: dict[str, Any] | None = None
    """`usd`, `calls` and `seconds`, as `Budget` takes them."""
    search_space: dict[str, Any] | None = None
    objective: str | dict[str, Any] = "quality"
    """`quality`, `pareto`, or the fields of `Objective`."""
    stages: list[str] = ["allocation", "structure", "prompts"]
    strategy: str = "default"
    prompt_optimizer: str = "auto"
    diagnoser: str | None = "auto"
    holdout: float = 0.3
    seed: int = 0
    concurrency: Annotated[int, Field(ge=1, le=256)] = 32
    experiment: str | None = None

    def arguments(self, models: Mapping[str, Model]) -> dict[str, Any]:
        """The arguments of `optimize`, but for pipeline and dataset.

        Args:
            models: what the operator's labels stand for.

        Raises:
            ValueError: one does not fit, in the words of `optimize`.
        """
        from optimizer import Budget, Objective, SearchSpace
        from optimizer.stages.resolver import chosen_stages

        objective = self.objective
        chosen = None if self.models is None else [models.get(name, name) for name in self.models]
        same = {"metric", "holdout", "seed", "concurrency", "experiment"}
        return {
            **self.model_dump(include=same),
            "models": chosen,
            "budget": None if self.budget is None else Budget(**self.budget),
            "search_space": None if self.search_space is None else SearchSpace(**self.search_space),
            "objective": objective if isinstance(objective, str) else Objective(**objective),
            "stages": chosen_stages(self.stages, self.strategy, self.prompt_optimizer),
            "diagnoser": self.diagnoser and models.get(self.diagnoser, self.diagnoser),
        }


State = Literal["queued", "running", "stopped", "failed", "done"]
"""How far a search is; the last three have ended, and the first two of those can be resumed."""


def make_request(fields: Any) -> SearchRequest:
    """The request of these fields.

    Raises:
        ValueError: a field is unknown, missing or of another kind.
    """
    try:
        return SearchRequest.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the request"
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
