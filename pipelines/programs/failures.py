"""Maps exceptions to failures; any other exception is a bug and propagates."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.gateway.call import CallFailed
from pipelines.gateway.call_record import CallRecord
from pipelines.gateway.storage.database import StoreError
from pipelines.programs.trace import Failure

if TYPE_CHECKING:
    from dspy.utils.exceptions import AdapterParseError

_REFUSAL = re.compile(
    r"\W*(?:(?:i'm |i am )?(?:very |so )?sorry|i apologi[sz]e|unfortunately)?[,.]? ?(?:but )?"
    r"(?:as an ai[\w ]*, )?i(?:'m| am)? ?"
    r"(?:can't|cannot|can not|won't|will not|unable to|not able to|must decline to) "
    r"(?:help|assist|comply|provide|fulfil|answer|do that|continue|engage|discuss|support)",
    re.IGNORECASE,
)
"""Only at the beginning of a reply: further on, the same words may belong to an answer."""


class ModuleFailed(Exception):
    """A module returned no outputs; `failure` holds the reason."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"module {failure.module!r} failed ({failure.kind}): {failure.message}")
        self.failure = failure

    def __reduce__(self) -> tuple[type[ModuleFailed], tuple[Failure]]:
        """Picklable, for workers in other processes."""
        return ModuleFailed, (self.failure,)


def failure_of(error: BaseException, calls: Sequence[CallRecord], module: str) -> Failure | None:
    """The failure behind what a predictor raised, after these calls; None if it is no known one.
    Raises StoreError if the cache can't be used, which DSPy would hide."""
    from dspy.utils.exceptions import AdapterParseError

    if isinstance(error, ModuleFailed):
        return error.failure
    for cause in (error, error.__cause__):
        if isinstance(cause, StoreError):
            raise cause from None
        if isinstance(cause, CallFailed):
            return Failure(cause.kind, module, str(cause), cause.infrastructure)
    if isinstance(error, AdapterParseError):
        kind = reply_kind(error, calls[-1].finish_reason if calls else "stop")
        return Failure(kind, module, _shortened(str(error)), infrastructure=False)
    if _is_of_reading(error):
        problem = _shortened(f"the reply can't be read: {type(error).__name__}: {error}")
        return Failure("unparsable", module, problem, infrastructure=False)
    return None


def reply_kind(error: AdapterParseError, finish_reason: str) -> str:
    """What kind of failure it is that a reply can't be read."""
    if getattr(error, "cut_off", False):
        return "truncated"
    reply = error.lm_response or ""
    if finish_reason == "content_filter" or _REFUSAL.match(reply.replace("\u2019", "'")):
        return "refusal"
    has_calls = "'tool_calls': [" in reply  # as DSPy quotes a reply without text
    if not reply.strip() or (str(error).startswith("The LM returned an empty") and not has_calls):
        return "empty"
    return "unparsable"


def _is_of_reading(error: BaseException) -> bool:
    """Whether one of DSPy's adapters, the program's own included, raised it over a reply."""
    from dspy.adapters.base import Adapter

    reading = Adapter._call_postprocess.__code__
    return any(frame.f_code is reading for frame, _ in traceback.walk_tb(error.__traceback__))


def _shortened(text: str) -> str:
    return text if len(text) <= 2000 else f"{text[:2000]} [...]"
