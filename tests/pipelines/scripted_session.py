"""A session that answers from a script and notes every call: no gateway, no cache, no model.

And what the tests bind to it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines import Module, Pipeline, Program, patterns
from pipelines.gateway.budget import PurposeSpend, Spend
from pipelines.gateway.call import CallRace, LMCall, LMReply
from pipelines.gateway.model import Model
from pipelines.programs.memo import Memo
from search_spaces import PipelineConfig

Script = Callable[[LMCall], str | LMReply]

LOCATE_SOLVE = patterns.locate_solve()
INPUTS = {"table": "t", "question": "q"}
MODELS = {label: Model(f"sim/{label}", label=label) for label in ("a", "b", "c")}


def written(**fields: object) -> str:
    """A reply in the form that DSPy's chat adapter asks for."""
    parts = [f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items()]
    return "\n\n".join([*parts, "[[ ## completed ## ]]"])


def reply(text: str, finish_reason: str = "stop", latency_s: float = 1.0) -> LMReply:
    return LMReply(text, finish_reason, 100, 10, 0.001, latency_s)


def requested(call: LMCall) -> list[str]:
    """The output fields that a call asks for."""
    sentence = call.messages[-1]["content"].rpartition("Respond with")[2]
    return [name for name in re.findall(r"\[\[ ## (\w+) ## \]\]", sentence) if name != "completed"]


def received(call: LMCall) -> dict[str, str]:
    """The input fields that a call carries."""
    content = call.messages[-1]["content"].rpartition("Respond with")[0]
    parts = re.split(r"\[\[ ## (\w+) ## \]\]\n", content)[1:]
    return {name: value.strip() for name, value in zip(parts[::2], parts[1::2], strict=True)}


def signed(call: LMCall) -> str:
    """Every requested field says who wrote it: the model's label and the sample index."""
    by = f"{call.model.label}#{call.sample}"
    return written(**{name: f"{name} by {by}" for name in requested(call)})


class ScriptedSession:
    """Stands in for the gateway's `Session`."""

    nominal = Spend()

    def __init__(self, script: Script = signed) -> None:
        self.script = script
        self.calls: list[LMCall] = []
        self._lock = threading.Lock()

    def complete(self, call: LMCall) -> LMReply:
        with self._lock:
            self.calls.append(call)
        answer = self.script(call)
        return reply(answer) if isinstance(answer, str) else answer

    def parsed(self, key: str) -> None:
        return None

    def keep_parsed(self, key: str, call: str, outputs: Mapping[str, Any]) -> None:
        pass

    def first_seconds(self, key: str, seconds: float) -> float:
        return seconds

    def first_of(
        self, calls: Sequence[LMCall], count: int = 1, on_first: object = None
    ) -> CallRace:
        """The quickest win; the others cost all that they wrote."""
        replies = [self.complete(call) for call in calls]
        order = sorted(range(len(calls)), key=lambda place: replies[place].latency_s)
        won = tuple(order[:count])
        lost = [PurposeSpend() if n in won else reply.cost for n, reply in enumerate(replies)]
        return CallRace(won, tuple(replies[place] for place in won), tuple(lost))


class CachingSession(ScriptedSession):
    """The same with a cache of replies, as the gateway has one; `calls` are those that missed it.

    Failures are not cached.
    """

    def __init__(self, script: Script = signed) -> None:
        super().__init__(script)
        self._replies: dict[str, LMReply] = {}

    def complete(self, call: LMCall) -> LMReply:
        if call.key not in self._replies:
            self._replies[call.key] = super().complete(call)
        return self._replies[call.key]


def bind(
    pipeline: Pipeline,
    session: ScriptedSession,
    config: PipelineConfig | None = None,
    memo: Memo | None = None,
) -> Program:
    """The pipeline, all on model `a` unless the config says else."""
    account: Any = session
    made = pipeline.bind(config or pipeline.default_config("a"), MODELS, account, memo)
    assert isinstance(made, Program)
    return made


def one(signature: str = "question -> answer", **knobs: Any) -> Pipeline:
    """A pipeline of one module."""
    return Pipeline("one", [Module("solve", signature, **knobs)])
