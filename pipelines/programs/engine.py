"""DSPy's engine seam: every call of a `dspy.LM` of ours goes to the gateway.

DSPy's engine never learns which sample it is asked for: `rollout_id` is stripped, and `n` becomes
equal requests. So the LM counts the draws of one `__call__` in a context variable, and the
engine turns rollout and draw into the sample index that the gateway keys and sends.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Self

import dspy
from dspy import lm15
from dspy.clients.lm15_boundary import request_kwargs
from dspy.utils.exceptions import ContextWindowExceededError

from pipelines.gateway.call import CallFailed, LMCall, LMReply, Purpose
from pipelines.gateway.call_record import CallRecord, current_recorder
from pipelines.gateway.gateway import Session
from pipelines.gateway.model import Model
from pipelines.providers import takes

SAMPLES_PER_ROLLOUT = 1000
_PARAMS = ("stop", "top_p", "response_format", "tools", "tool_choice", "parallel_tool_calls")
"""Of DSPy's own; all else is the gateway's to set."""

_DRAWS: ContextVar[Iterator[int] | None] = ContextVar("_DRAWS", default=None)

CUT_OFF: ContextVar[dict[str, str] | None] = ContextVar("CUT_OFF", default=None)
"""Set by an adapter that decides itself whether a reply cut off by `max_tokens` can be read: the
texts of such replies, and a message for each."""


class GatewayLM(dspy.LM):
    """A `dspy.LM` whose calls pass the gateway: cached, budgeted, retried and metered there.

    `sample` is the index of its first draw; a member of a wide module gets its own. `params` go
    with every call.
    """

    def __init__(
        self,
        model: Model,
        session: Session,
        *,
        temperature: float | None = None,
        purpose: Purpose = "task",
        sample: int = 0,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self.label = model.label
        self.sample = sample
        self.settings = repr((temperature, sorted((params or {}).items())))
        """All else that decides what it answers to equal messages."""
        # Temperature and max_tokens stay out of DSPy's own settings: it refuses most values of
        # both for reasoning models, and the gateway sends them anyway.
        call = LMCall(model, (), temperature, sample, params or {}, purpose)
        self.gateway_engine = GatewayEngine(call, session)
        self._open(model.name, self.gateway_engine)

    def _open(self, name: str, engine: GatewayEngine | RacingEngine) -> None:
        super().__init__(
            name, engine=engine, async_engine=AsyncGatewayEngine(engine), cache=False,
            num_retries=0,
        )  # fmt: skip

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As `dspy.LM`, with its draws counted."""
        token = _DRAWS.set(self._draws(kwargs))
        try:
            return super().__call__(*args, **kwargs)
        finally:
            _DRAWS.reset(token)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """As `dspy.LM`, with its draws counted."""
        token = _DRAWS.set(self._draws(kwargs))
        try:
            return await super().acall(*args, **kwargs)
        finally:
            _DRAWS.reset(token)

    def _draws(self, kwargs: dict[str, Any]) -> Iterator[int]:
        rollout = {**self.kwargs, **kwargs}.get("rollout_id") or 0
        return itertools.count(int(rollout) * SAMPLES_PER_ROLLOUT)


class _Shared:
    """What DSPy must not copy with the LMs of a program: there is one budget behind it."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class GatewayEngine(_Shared):
    """Turns DSPy's canonical request into a call of the gateway, and its reply back.

    `first` is the call at the first draw, without messages.
    """

    def __init__(self, first: LMCall, session: Session) -> None:
        self._first = first
        self.session = session

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer one request.

        Raises CallFailed, which DSPy wraps in an `LMUnexpectedError`, or
        ContextWindowExceededError, at which
        DSPy's agents shorten their prompt. BudgetExhausted is no `Exception`, so DSPy can't swallow
        it.
        """
        return self.answer(self.call(request, _next_draw()))

    def answer(self, call: LMCall) -> lm15.Response:
        """Answer one call; errors as `complete`."""
        try:
            reply = self.session.complete(call)
        except CallFailed as failed:
            current_recorder().latency_s += failed.latency_s
            if failed.kind == "context_window":
                raise ContextWindowExceededError(message=str(failed)) from failed
            raise
        return _answered(call, reply)

    @property
    def supported_params(self) -> frozenset[str]:
        """What DSPy's JSONAdapter asks before it sends a `response_format`."""
        takes_json = takes(self._first.model, "response_format", {"type": "json_object"})
        return frozenset(("response_format",) if takes_json else ())

    @property
    def supports_response_schema(self) -> bool:
        """Whether it may be a JSON schema."""
        return takes(self._first.model, "response_format", {"type": "json_schema"})

    @property
    def supports_function_calling(self) -> bool:
        """What DSPy's adapters ask before they send tools, and no list of them in the prompt."""
        return takes(self._first.model, "tools", ())

    def call(self, request: lm15.Request, draw: int = 0) -> LMCall:
        """The call of the gateway for this request, at this draw."""
        first, temperature = self._first, request.config.temperature
        messages, params = _wire(request)
        return replace(
            first,
            messages=messages,
            temperature=first.temperature if temperature is None else temperature,
            sample=first.sample + draw,
            params={**first.params, **params},
        )


class RacingLM(GatewayLM):
    """A `dspy.LM` that asks several members at once and answers as those that finish first.

    Its first call holds the race and answers as the winner, each later one as the next to finish.

    Args:
        members: equal calls among them are one, and finish together.
        count: how many members finish before the others are cut off.
        on_first: called with the place of the member that finishes first, when it does, unless the
            race was held before. It must not block.
    """

    def __init__(
        self,
        members: Sequence[GatewayLM],
        count: int,
        on_first: Callable[[int], object] | None = None,
    ) -> None:
        first = members[0]
        self.label, self.sample, self.settings = first.label, first.sample, first.settings
        self.gateway_engine = first.gateway_engine
        self.race = RacingEngine([member.gateway_engine for member in members], count, on_first)
        self._open(first.model, self.race)


class RacingEngine(_Shared):
    """Turns DSPy's request into a race at the gateway, and back into its winners' replies."""

    def __init__(
        self,
        engines: Sequence[GatewayEngine],
        count: int,
        on_first: Callable[[int], object] | None,
    ) -> None:
        self._engines = engines
        self._on_first = on_first
        self._count = min(count, len(engines))
        self._finished: dict[int, Iterator[tuple[GatewayEngine, LMCall, LMReply]]] = {}
        self._raced: dict[int, tuple[Mapping[str, Any], ...]] = {}
        """By draw, the messages of the race."""
        self._winner = engines[0]
        self.winners: list[list[int]] = []
        """For each call that finished in time, in this order, its members; empty if the race
        failed."""
        self.losers: list[CallRecord] = []
        """The calls that were cut off: they cost money and no time."""

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer as the next winner; errors as `GatewayEngine.complete`.

        Other messages than those of the race, such as DSPy's second request for an unreadable
        reply, go to the winner alone.
        """
        draw, (messages, _) = _next_draw(), _wire(request)
        if messages != self._raced.setdefault(draw, messages):
            return self._winner.answer(self._winner.call(request, draw))
        if draw not in self._finished:
            self._finished[draw] = self._hold(request, draw)
        self._winner, call, reply = next(self._finished[draw])
        return _answered(call, reply)

    @property
    def supported_params(self) -> frozenset[str]:
        """Those that all members support."""
        return frozenset.intersection(*(each.supported_params for each in self._engines))

    @property
    def supports_response_schema(self) -> bool:
        """Whether all members do."""
        return all(each.supports_response_schema for each in self._engines)

    @property
    def supports_function_calling(self) -> bool:
        """Whether all members do."""
        return all(each.supports_function_calling for each in self._engines)

    def _hold(
        self, request: lm15.Request, draw: int
    ) -> Iterator[tuple[GatewayEngine, LMCall, LMReply]]:
        calls = [each.call(request, draw) for each in self._engines]
        distinct = list({call.key: call for call in calls}.values())
        members = [[n for n, call in enumerate(calls) if call.key == d.key] for d in distinct]
        count = _calls_for(self._count, map(len, members))
        session, on_first = self._engines[0].session, self._on_first
        report = on_first and (lambda place: on_first(members[place][0]))
        race = session.first_of(distinct, count, report)
        self.winners = self.winners or [members[place] for place in race.winners]
        for call, lost in zip(distinct, race.lost, strict=True):
            if lost.calls:
                tokens = lost.input_tokens, lost.output_tokens
                reply = LMReply("", "cut_off", *tokens, lost.usd, latency_s=0.0)
                self.losers.append(CallRecord.of(call, reply))
        engines = (self._engines[members[place][0]] for place in race.winners)
        return zip(engines, (distinct[place] for place in race.winners), race.replies, strict=True)


class AsyncGatewayEngine(_Shared):
    """The same engine for `acall`: the call runs in a thread and does not block the loop."""

    def __init__(self, engine: GatewayEngine | RacingEngine) -> None:
        self._engine = engine

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer one request; see `GatewayEngine.complete`."""
        return await asyncio.to_thread(self._engine.complete, request)


def _answered(call: LMCall, reply: LMReply) -> lm15.Response:
    """Record the call, and give its reply to DSPy."""
    current_recorder().note(CallRecord.of(call, reply))
    if reply.finish_reason == "length":
        what = (
            f"{call.model.label}'s answer was cut off after {reply.output_tokens} tokens; "
            "Model(..., max_tokens=...) allows more"
        )
        cut_off = CUT_OFF.get()
        if cut_off is None:
            raise CallFailed("truncated", what)
        cut_off[reply.text] = what
    return _response(call.model, reply)


def _next_draw() -> int:
    return next(_DRAWS.get() or iter((0,)))


def _calls_for(members: int, sizes: Iterable[int]) -> int:
    """How many calls must finish, whichever they are, so that this many members have. `sizes` are
    the numbers of members by call."""
    return 1 + sum(fewest < members for fewest in itertools.accumulate(sorted(sizes)))


def _wire(request: lm15.Request) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """The request's messages and parameters in OpenAI's form; raises CallFailed for sound and the
    like."""
    try:
        body = request_kwargs(request, "chat")
    except (lm15.UnsupportedFeatureError, ValueError) as error:
        problem = f"the gateway sends text, images and tools alone: {error}"
        raise CallFailed("unsupported_input", problem) from error
    return tuple(body["messages"]), {name: body[name] for name in _PARAMS if name in body}


def _tool_call(call: Mapping[str, Any], place: int, label: str) -> lm15.ToolCallPart:
    """One tool call of a reply, as DSPy has it; raises CallFailed if it is malformed."""
    function = call.get("function")
    function = function if isinstance(function, Mapping) else {}
    name, given = function.get("name"), function.get("arguments") or {}
    try:
        arguments = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        shown = json.dumps(call, ensure_ascii=False)[:500]
        raise CallFailed(
            "unparsable",
            f"{label} wrote a tool call without a name, or with arguments that are no JSON object: "
            f"{shown}",
        )
    return lm15.ToolCallPart(str(call.get("id") or f"call_{place}"), name, arguments)


def _response(model: Model, reply: LMReply) -> lm15.Response:
    calls = [_tool_call(call, place, model.label) for place, call in enumerate(reply.tool_calls)]
    finish_reason: Any = "content_filter" if reply.finish_reason == "content_filter" else "stop"
    text = [lm15.TextPart(reply.text)] if reply.text or not calls else []
    return lm15.Response(
        id=None,
        model=model.name,
        message=lm15.Message.assistant([*text, *calls]),
        finish_reason="tool_call" if calls else finish_reason,
        usage=lm15.Usage(input_tokens=reply.input_tokens, output_tokens=reply.output_tokens),
    )
