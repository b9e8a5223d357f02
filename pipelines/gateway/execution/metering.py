"""What a reply cost: the provider's figures, as far as they can be true."""

from __future__ import annotations

import functools
import json
import logging
import math
from collections.abc import Mapping
from typing import Any

from pipelines.gateway.call import LMCall, LMReply
from pipelines.gateway.prices import Price
from pipelines.gateway.provider import ProviderReply
from pipelines.gateway.secrets import encodable, redacted

logger = logging.getLogger(__name__)

EXCESS = 0.1
"""Up to which share above a bound a provider's count is believed."""


def metered(call: LMCall, sent: ProviderReply, price: Price) -> LMReply:
    """The reply with its tokens and dollars.

    No tokenizer makes more tokens than there are bytes, and no output has more than `max_tokens`:
    what exceeds these bounds by more than `EXCESS` is not believed, and the bound is charged. So a
    call is never charged more than `1 + EXCESS` times its reservation. Where the provider does not
    count, the bytes bound the tokens.
    """
    most_inputs, most_outputs = call.most_input_tokens, call.model.max_tokens
    inputs = _tokens(sent.input_tokens, most_inputs)
    outputs = _tokens(sent.output_tokens, most_outputs)
    text, unseen = encodable(sent.text), encodable(sent.unseen_text)
    calls = tuple(_clean(each, call) for each in sent.tool_calls)
    written = len((text + unseen + (json.dumps(calls) if calls else "")).encode())
    counted = inputs and (outputs or (outputs == 0 and not written))
    if not counted:
        _warn_of_usage(call.model.label)
        inputs, outputs = inputs or most_inputs, outputs or min(written, most_outputs)
    assert inputs is not None
    assert outputs is not None
    usd = math.fsum((inputs * price.input_usd, outputs * price.output_usd))
    listed = sent.listed_usd
    if counted and listed is not None and 0 <= listed <= price.worst_usd(call) * (1 + EXCESS):
        usd = listed
    return LMReply(
        text=redacted(text, call.model.key_variable),
        finish_reason=encodable(sent.finish_reason or "stop"),
        input_tokens=inputs,
        output_tokens=outputs,
        usd=usd,
        latency_s=sent.latency_s,
        tool_calls=calls,
    )


def _clean(sent: Any, call: LMCall) -> Any:
    """The same value without secrets, and without what no file takes."""
    if isinstance(sent, str):
        return redacted(encodable(sent), call.model.key_variable)
    if isinstance(sent, Mapping):
        return {encodable(name): _clean(value, call) for name, value in sent.items()}
    return [_clean(each, call) for each in sent] if isinstance(sent, list) else sent


def _tokens(reported: object, most: int) -> int | None:
    """The count, the bound if it exceeds that; None for what is no count."""
    if isinstance(reported, bool) or not isinstance(reported, int | float) or not reported >= 0:
        return None
    return most if reported > most * (1 + EXCESS) else math.ceil(reported)


@functools.cache
def _warn_of_usage(label: str) -> None:
    """Once for each model."""
    logger.warning(
        "model %s does not say how many tokens it used; each byte is counted as one, which is more "
        "than it should charge for",
        label,
    )
