"""Real answers of a small model to two prompts: where they agree, the larger one is not asked."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.gateway.call import LMCall, LMReply
from pipelines.gateway.model import Model
from search_spaces import AggregatorConfig, MemberConfig, ModuleConfig, PipelineConfig
from tests.pipelines.scripted_session import ScriptedSession, one, received, written

SMALL, LARGE = "qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct"
MODELS = {label: Model(f"sim/{label}", label=label) for label in (SMALL, LARGE)}
USD_PER_TOKEN = {SMALL: 1e-6, LARGE: 3e-6}

Recorded = dict[tuple[str, str, int], dict[str, Any]]
"""Greedy answers by model, prompt and question."""


@pytest.fixture(scope="module")
def recorded(shared_data: Path) -> Recorded:
    with gzip.open(shared_data / "small_models_subject.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines][1:]
    return {(r["model"], r["prompt"], r["id"]): r for r in rows if r["temperature"] == 0}


def member(model: str, prompt: str) -> MemberConfig:
    return MemberConfig(model, instructions=f"Use the prompt {prompt}.")


def usd_of(row: dict[str, Any]) -> float:
    return USD_PER_TOKEN[row["model"]] * float(row["input_tokens"] + row["output_tokens"])


def session_of(recorded: Recorded) -> ScriptedSession:
    def script(call: LMCall) -> LMReply:
        prompt = "examples" if "the prompt examples." in str(call.messages) else "direct"
        row = recorded[call.model.label, prompt, int(received(call)["question"])]
        text = written(answer=row["parsed"] or "none")
        return LMReply(text, "stop", row["input_tokens"], row["output_tokens"], usd_of(row), 1.0)

    return ScriptedSession(script)


def measured(config: ModuleConfig, recorded: Recorded) -> tuple[float, float]:
    """Accuracy and dollars per question."""
    account: Any = session_of(recorded)
    program = one().bind(PipelineConfig(modules={"solve": config}), MODELS, account)
    subjects = {question: row["subject"] for (_, _, question), row in recorded.items()}
    traces = {question: program.run({"question": str(question)}) for question in subjects}
    right = sum((t.outputs or {})["answer"] == subjects[q] for q, t in traces.items())
    return right / len(subjects), sum(t.usd for t in traces.values()) / len(subjects)


def expected(recorded: Recorded) -> tuple[float, float]:
    """The same cascade by hand."""
    right, usd = 0, 0.0
    questions = {question for _, _, question in recorded}
    for question in questions:
        direct, examples, large = (
            recorded[model, prompt, question]
            for model, prompt in ((SMALL, "direct"), (SMALL, "examples"), (LARGE, "direct"))
        )
        agree = (direct["parsed"] or "none") == (examples["parsed"] or "none")
        right += (direct if agree else large)["parsed"] == direct["subject"]
        usd += usd_of(direct) + usd_of(examples) + (0 if agree else usd_of(large))
    return right / len(questions), usd / len(questions)


def test_a_cascade_of_two_prompts_asks_the_larger_model_where_they_disagree(
    recorded: Recorded,
) -> None:
    steps = AggregatorConfig(name="cascade", params={"steps": [2, 1]})
    asked = (member(SMALL, "direct"), member(SMALL, "examples"), member(LARGE, "direct"))
    cascade = ModuleConfig(members=asked, aggregator=steps, temperature=0.0)
    accuracy, usd = measured(cascade, recorded)
    assert (accuracy, usd) == pytest.approx(expected(recorded))
    alone, _ = measured(ModuleConfig(members=asked[2:], temperature=0.0), recorded)
    assert accuracy > alone
