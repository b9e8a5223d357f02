"""Samples at a temperature: other random numbers for each prompt, and the same for equal calls."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import dspy
import pytest

from pipelines.gateway.call import LMCall
from pipelines.gateway.gateway import Gateway
from tests.live.served import NAMED, NAMES, model
from tests.live.tasks import CLASSIFY, questions

PROMPTS = 12
SAMPLES = 3
REPEATED = 4
SPREAD = 8
"""If half of the replies are well-formed, two of three sample indices are further apart than this
in 1 of 1,000 runs; with one stream of random numbers for all prompts they often are 12 apart."""

SIGNATURE = dspy.Signature(CLASSIFY.modules[0].signature, CLASSIFY.modules[0].instructions)
ADAPTER = dspy.ChatAdapter(use_json_adapter_fallback=False)


@pytest.mark.parametrize("name", NAMES)
def test_draws_differ_between_prompts_and_equal_calls_repeat(name: str) -> None:
    served = model(name, NAMED[name], max_tokens=24)
    prompts = [tuple(ADAPTER.format(SIGNATURE, [], row)) for row in questions(PROMPTS)]
    calls = [
        LMCall(served, prompt, temperature=0.7, sample=sample)
        for sample in range(SAMPLES)
        for prompt in prompts
    ]
    texts = asked(calls)
    formed = [sum(map(is_well_formed, texts[n : n + PROMPTS])) for n in range(0, len(texts), 12)]
    print(f"{name}: well-formed replies of {PROMPTS} by sample index: {formed}")
    assert max(formed) - min(formed) <= SPREAD
    some = calls[:: len(calls) // REPEATED]
    assert asked(some, in_flight=1) == asked(some, in_flight=1)
    by_prompt = [set(texts[n::PROMPTS]) for n in range(PROMPTS)]
    assert sum(len(draws) > 1 for draws in by_prompt) >= PROMPTS / 2, "samples are alike"


def asked(calls: Sequence[LMCall], in_flight: int = 4) -> list[str]:
    """The replies' texts, from the server.

    One that decodes several requests in one batch rounds otherwise than for one alone, which now
    and then decides a token: what must repeat is asked one by one.
    """
    with closing(Gateway(None)) as gateway, ThreadPoolExecutor(in_flight) as pool:
        session = gateway.session("draws")
        replies = list(pool.map(session.complete, calls))
    assert not any(reply.cached for reply in replies)
    return [reply.text for reply in replies]


def is_well_formed(text: str) -> bool:
    try:
        ADAPTER.parse(SIGNATURE, text)
    except dspy.AdapterParseError:
        return False
    return True
