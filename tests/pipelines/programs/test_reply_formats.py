"""What form replies have, and what becomes of those that have another."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import dspy
import pydantic
import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer
from pipelines import Module, ModuleStep, Pipeline, PipelineError
from pipelines.adapters.dspy_programs import from_dspy
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import LMCall
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.programs.adapter import chat_adapter
from search_spaces import ModuleConfig, PipelineConfig
from tests.pipelines.scripted_session import ScriptedSession, bind, one, reply, written

SUBJECT = "question -> subject: Literal['math', 'psychology', 'U.S.']"


class Item(pydantic.BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def known(cls, value: str) -> str:
        return {"apple": "Apple"}[value]


def wants_json(call: LMCall) -> bool:
    return "Respond with a JSON object" in call.messages[-1]["content"]


def in_either(chat: str, **fields: object) -> Callable[[LMCall], str]:
    """Answers this in the chat form, and the fields where JSON is asked for."""
    return lambda call: json.dumps(fields) if wants_json(call) else chat


def step_of(session: ScriptedSession, signature: Any = "question -> answer") -> ModuleStep:
    return bind(one(signature), session).run({"question": "q"}).steps[0]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (
            "psychology        # note: the value you produce must exactly match (no extra "
            "characters) one of: math; psychology; U.S.",
            "psychology",
        ),
        ("`psychology`", "psychology"),
        ('"psychology".', "psychology"),
        ("**math**", "math"),
        ("U.S", "U.S."),
    ],
)
@pytest.mark.parametrize("form", ["chat", "json", "xml"])
def test_slips_around_a_choice_are_forgiven(said: str, meant: str, form: Any) -> None:
    wrote = {
        "chat": written(subject=said),
        "json": json.dumps({"subject": said}),
        "xml": f"<subject>\n{said}\n</subject>",
    }
    session = ScriptedSession(lambda call: wrote[form])
    trace = bind(one(SUBJECT, reply_format=form), session).run({"question": "q"})
    assert trace.outputs == {"subject": meant}
    again = "# note" in said and form != "json"
    assert len(session.calls) == 1 + again
    assert [call.unread for call in trace.calls] == [again] * (1 + again)


def test_a_model_that_copies_a_hint_is_asked_again_and_forgiven_if_that_does_not_help() -> None:
    hint = "psychology   # note: the value you produce must exactly match one of: math; psychology"
    said = written(subject=hint)
    better = step_of(ScriptedSession(in_either(said, subject="math")), SUBJECT)
    assert (better.outputs, len(better.calls)) == ({"subject": "math"}, 2)
    for json_reply in ({"subject": "physics"}, {}):
        as_before = step_of(ScriptedSession(in_either(said, **json_reply)), SUBJECT)
        assert (as_before.outputs, len(as_before.calls)) == ({"subject": "psychology"}, 2)
        assert [call.unread for call in as_before.calls] == [True, True]


def test_copied_hints_of_other_types_are_forgiven_and_texts_stay_as_they_are() -> None:
    hint = "3   # note: the value you produce must be a single int value"
    read = {
        kind: step_of(ScriptedSession(lambda call: written(x=hint)), f"question -> x: {kind}")
        for kind in ("int", "str")
    }
    assert read["int"].outputs == {"x": 3}
    assert read["str"].outputs == {"x": hint}
    assert [len(step.calls) for step in read.values()] == [1, 1]


CUT_OFF = {
    "chat": ("[[ ## subject ## ]]\nmath", "\n\n[[ ## completed ## ]]\nand so on"),
    "json": ('{"subject": "math"', "}\n\n\n\n"),
    "xml": ("<subject>math", "</subject> and so on"),
}


@pytest.mark.parametrize("form", ["chat", "json", "xml"])
def test_what_is_cut_off_after_the_last_field_counts_and_no_field_that_may_go_on(form: Any) -> None:
    start, rest = CUT_OFF[form]
    for text, whole in ((start + rest, True), (start, False)):
        cut = reply(text, finish_reason="length")
        session = ScriptedSession(lambda _, cut=cut: cut)  # type: ignore[misc]
        trace = bind(one(SUBJECT, reply_format=form), session).run({"question": "q"})
        assert trace.outputs == ({"subject": "math"} if whole else None)
        assert len(session.calls) == 1 + (not whole and form != "json")
        if trace.failure:
            assert trace.failure.kind == "truncated"
            assert "was cut off after 10 tokens; Model(..., max_tokens=...)" in (
                trace.failure.message
            )


def test_what_is_cut_off_is_asked_again_as_json() -> None:
    def ramble(call: LMCall) -> Any:
        text = '{"subject": "math"}' if wants_json(call) else "Let me think. First"
        return reply(text, finish_reason="stop" if wants_json(call) else "length")

    step = step_of(ScriptedSession(ramble), SUBJECT)
    assert step.outputs == {"subject": "math"}
    assert [(call.finish_reason, call.asked_again) for call in step.calls] == [
        ("length", True),
        ("stop", False),
    ]


def test_what_names_no_choice_is_asked_again_and_counted() -> None:
    session = ScriptedSession(in_either(written(subject="physics"), subject="math"))
    step = step_of(session, SUBJECT)
    assert step.outputs == {"subject": "math"}
    assert [(call.unread, call.asked_again) for call in step.calls] == [
        (True, True),
        (False, False),
    ]
    assert session.calls[0].key != session.calls[1].key
    assert step.usd == pytest.approx(2 * 0.001)
    assert step.latency_s == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        (list[str], "[" * 1500),
        (Item, '{"name": "pear"}'),
        (dict[str, int], '{"a": "\ud800"}'),
    ],
)
@pytest.mark.parametrize("route", ["pipeline", "wide", "program", "own adapter"])
def test_whatever_reading_a_reply_raises_is_the_models_failure(
    kind: Any, odd: str, route: str
) -> None:
    fields: dict[str, Any] = {"question": (str, dspy.InputField()), "x": (kind, dspy.OutputField())}
    signature = dspy.Signature(fields, "Answer.")
    account: Any = ScriptedSession(lambda call: written(x=odd) if not wants_json(call) else odd)
    models = {"a": Model("sim/a", label="a")}
    pipeline: Any = one(signature)
    config = pipeline.default_config("a")
    if route == "wide":
        config = config.with_knobs("solve", width=2, aggregator="majority_vote", temperature=0.5)
    if route == "program":
        pipeline = from_dspy(dspy.Predict(signature))
        config = pipeline.default_config("a")
    if route == "own adapter":

        class Program(dspy.Module):
            def __init__(self) -> None:
                super().__init__()
                self.ask = dspy.Predict(signature)

            def forward(self, question: str) -> Any:
                with dspy.context(adapter=dspy.JSONAdapter()):
                    return self.ask(question=question)

        pipeline = from_dspy(Program())
        config = pipeline.default_config("a")
    trace = pipeline.bind(config, models, account).run({"question": "q"})
    assert trace.failure is not None
    assert (trace.failure.kind, trace.failure.infrastructure) == ("unparsable", False)


def test_a_bug_in_a_users_function_is_not_the_models_failure() -> None:
    def boom(question: str) -> str:
        raise KeyError(question)

    pipeline = Pipeline("p", [Module("solve", "question -> answer", function=boom)])
    trace = pipeline.bind(pipeline.default_config(), {}, None).run({"question": "q"})
    assert trace.failure is not None
    assert trace.failure.kind == "function_error"


def test_in_a_race_the_winner_is_asked_again() -> None:
    def script(call: LMCall) -> Any:
        text = json.dumps({"answer": call.model.label}) if wants_json(call) else "the answer"
        return reply(text, latency_s={"a": 3.0, "b": 1.0}[call.model.label])

    session = ScriptedSession(script)
    both = ModuleConfig(models=("a", "b"), width=2, aggregator="first_to_finish")
    config = PipelineConfig(modules={"solve": both})
    step = bind(one(), session, config).run({"question": "q"}).steps[0]
    assert step.outputs == {"answer": "b"}
    assert [(c.model.label, wants_json(c)) for c in session.calls] == [
        ("a", False), ("b", False), ("b", True),
    ]  # fmt: skip


def test_a_judge_that_has_another_draw_is_not_asked_as_json() -> None:
    session = ScriptedSession(lambda call: "no fields")
    predictor = bind(one(), session).solve
    with dspy.context(adapter=chat_adapter()), pytest.raises(dspy.AdapterParseError):
        predictor(question="q")
    assert len(session.calls) == 1


def test_the_format_is_a_knob_of_the_module() -> None:
    pipeline = one(reply_format="json")
    config = pipeline.default_config("a")
    assert config.modules["solve"].reply_format == "json"
    assert Pipeline.from_yaml(pipeline.to_yaml()) == pipeline
    plain = one().default_config("a")
    assert "reply_format" not in plain.canonical_json()
    assert config.key != plain.key
    told = "reply_format must be one of chat, json, xml, but got 'jsn'; nearest: 'json'"
    with pytest.raises(PipelineError, match=told):
        one(reply_format="jsn")


@pytest.mark.parametrize("form", ["json", "xml"])
def test_members_and_consultants_have_their_own_format(form: Any) -> None:
    asked: list[tuple[str, bool]] = []

    def script(call: LMCall) -> str:
        plain = "`[[ ## " in call.messages[-1]["content"]
        asked.append((call.model.label, plain))
        if plain:
            return written(reasoning="r", choice=1)
        answer = f"answer {call.sample}"
        return json.dumps({"answer": answer}) if form == "json" else f"<answer>{answer}</answer>"

    config = one().default_config("a").with_knobs(
        "solve", width=2, temperature=0.5, reply_format=form,
        aggregator={"name": "judge", "modules": {"judge": {"models": ("b",)}}},
    )  # fmt: skip
    trace = bind(one(), ScriptedSession(script), config).run({"question": "q"})
    assert trace.outputs is not None, trace.failure
    assert sorted(asked) == [("a", False), ("a", False), ("b", True)]


def asked_of(script: Callable[[LoopbackRequest], Behaviour], times: int = 1) -> list[str | None]:
    """The kind of `response_format` of each request that as many questions take."""
    kinds: list[str | None] = []

    def note(request: LoopbackRequest) -> Behaviour:
        sent = request.params.get("response_format")
        kinds.append(sent and sent["type"])
        if sent:
            assert sent["json_schema"]["schema"]["required"] == ["answer"]
        return script(request)

    with LoopbackServer(note, reply=lambda messages, params: '{"answer": "42"}') as server:
        model = Model(
            "openai/m", label="m", api_base=server.url, input_usd_per_million=1,
            output_usd_per_million=1,
        )  # fmt: skip
        pipeline = one(reply_format="json")
        session = Gateway(None).session("formats", Budget(calls=9))
        program = pipeline.bind(pipeline.default_config("m"), {"m": model}, session)
        for number in range(times):
            trace = program.run({"question": f"q {number}"})
            assert trace.outputs == {"answer": "42"}, trace.failure
        assert session.spent.calls == times
    return kinds


def test_json_sends_the_schema_of_the_fields() -> None:
    assert asked_of(lambda request: Behaviour()) == ["json_schema"]


def test_a_server_that_refuses_a_schema_is_asked_without_one_from_then_on() -> None:
    body = json.dumps({"error": {"message": "'response_format.type' must be 'text'"}})

    def refuse(request: LoopbackRequest) -> Behaviour:
        return Behaviour(400, body=body) if "response_format" in request.params else Behaviour()

    assert asked_of(refuse, times=2) == ["json_schema", None, None]


def test_a_reply_that_no_file_could_hold_ends_nothing(tmp_path: Path) -> None:
    odd = {"message": {"content": written(answer="a\ud800b")}, "finish_reason": {"odd": 1}}
    body = json.dumps({"choices": [odd], "usage": {"prompt_tokens": "many"}})
    with LoopbackServer(Behaviour(body=body)) as server, closing(Gateway(tmp_path)) as gateway:
        model = Model(
            "openai/m", label="m", api_base=server.url, input_usd_per_million=1,
            output_usd_per_million=1,
        )  # fmt: skip
        pipeline = one()
        session = gateway.session("formats", Budget(calls=9))
        program = pipeline.bind(pipeline.default_config("m"), {"m": model}, session)
        assert program.run({"question": "q"}).outputs == {"answer": "a?b"}
