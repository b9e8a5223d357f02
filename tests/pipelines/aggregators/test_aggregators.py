"""What is peculiar to each aggregator, and what each refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pipelines import Module, PipelineError
from pipelines.aggregators import Aggregator, Verdict, aggregator, check_aggregator
from pipelines.aggregators.aggregator import Record
from pipelines.aggregators.notation import parse_network
from pipelines.aggregators.testing import ScriptedMembers, says
from search_spaces import AggregatorConfig

FUNCTIONS = "tests.pipelines.aggregators.functions"


def made(name: str, **params: Any) -> Aggregator:
    return aggregator(AggregatorConfig(name=name, params=params))


def answers(*given: str | None, **more: Any) -> ScriptedMembers:
    return ScriptedMembers([None if one is None else {"answer": one} for one in given], **more)


def outcome(name: str, members: ScriptedMembers, **params: Any) -> tuple[Any, float]:
    verdict = decided(name, members, **params)
    return verdict.answer.record.get("answer"), round(verdict.agreement, 3)


def decided(name: str, members: ScriptedMembers, **params: Any) -> Verdict:
    verdict = made(name, **params).aggregate(members)
    assert verdict is not None
    return verdict


def accepting(*right: str) -> Any:
    """A consulted module that accepts these answers."""
    return lambda text: {"accepted": any(f'"{one}"' in text for one in right)}


def test_the_filter_sorts_out_and_sees_equal_answers_once() -> None:
    members = answers("7", "7", "9", "8", "9.0", said={"filter": accepting("9", "8")})
    assert outcome("filter_vote", members) == ("9", 0.4)
    assert len(members.consulted) == 3


def test_a_filter_that_rejects_all_leaves_the_vote() -> None:
    assert outcome("filter_vote", answers("7", "9", "9", said={"filter": accepting()}))[0] == "9"


@pytest.mark.parametrize(("threshold", "expected"), [(0.6, "9"), (0.7, "greedy")])
def test_the_vote_stands_if_it_is_confident(threshold: float, expected: str) -> None:
    members = answers("9", "7", "9", greedy_record={"answer": "greedy"})
    assert outcome("confident_vote", members, threshold=threshold)[0] == expected


def test_the_judge_chooses_by_number_among_distinct_answers() -> None:
    members = answers("7", "9", "9.", "8", said={"judge": says(choice=3)})
    assert outcome("judge", members) == ("8", 0.25)
    ((_, shown),) = members.consulted
    assert shown.splitlines() == [
        '[1] {"answer": "7"}', '[2] {"answer": "9"}', '[3] {"answer": "8"}'
    ]  # fmt: skip


def test_who_all_agree_need_no_judge() -> None:
    members = answers("7", "7.0", said={"judge": says(choice=1)})
    assert outcome("judge", members) == ("7", 1.0)
    assert not members.consulted


@pytest.mark.parametrize("number", [0, 4, -1])
def test_a_choice_that_is_none_leaves_the_vote_and_is_noted(number: int) -> None:
    members = answers("7", "9", "9", "8", said={"judge": says(choice=number)})
    assert outcome("judge", members)[0] == "9"
    assert members.failures == [f"unparsable: the judge chose {number} of 3 candidates"]


def test_a_writing_judge_may_say_what_nobody_said() -> None:
    members = answers("7", "9", said={"judge": says(answer="8")})
    assert outcome("judge", members, answer="write") == ("8", 0.0)


def test_the_first_accepted_wins_and_no_further_is_asked_for() -> None:
    members = answers("7", "9", "8", said={"verifier": accepting("9", "8")})
    assert outcome("verifier", members) == ("9", 0.333)
    assert [shown for _, shown in members.consulted] == ['{"answer": "7"}', '{"answer": "9"}']


@pytest.mark.parametrize(("fallback", "expected"), [("first", "7"), ("vote", "9")])
def test_none_accepted_falls_back(fallback: str, expected: str) -> None:
    members = answers("7", "9", "9", said={"verifier": accepting()})
    assert outcome("verifier", members, fallback=fallback)[0] == expected


def three(*given: str) -> ScriptedMembers:
    records = [{"answer": answer, "unit": "m"} for answer in given]
    return ScriptedMembers(records, received={"question": "?"})


def test_the_best_by_a_function() -> None:
    members = three("7", "no number", "9")
    assert outcome("best_of", members, function=f"{FUNCTIONS}:value")[0] == "9"
    assert len(members.failures) == 1
    assert members.failures[0].startswith(f"function_error: {FUNCTIONS}:value: ValueError")


def test_the_best_by_a_scorer_and_ties_go_to_the_majority() -> None:
    members = answers("7", "9", "9", said={"scorer": says(score=0.5)})
    assert outcome("best_of", members)[0] == "9"
    members = answers("7", "9", "9", said={"scorer": lambda t: {"score": float("7" in t)}})
    assert outcome("best_of", members)[0] == "7"


@pytest.mark.parametrize("score", [float("nan"), float("inf"), None, "high"])
def test_a_score_that_is_no_finite_number_is_behind_all_others_and_noted(score: Any) -> None:
    members = answers("7", "9", said={"scorer": lambda t: {"score": score if "7" in t else -1.0}})
    assert outcome("best_of", members)[0] == "9"
    told = f"unparsable: a score must be a finite number, but the scorer said {score!r}"
    assert members.failures == [told]


@pytest.mark.parametrize(
    ("function", "value"), [("nothing", "None"), ("nan", "nan"), ("written", "'7'")]
)
@pytest.mark.parametrize("aggregator", ["best_of", "filter_cluster"])
def test_a_function_that_returns_no_score_is_named(
    aggregator: str, function: str, value: str
) -> None:
    members = three("7", "7")
    scoring = {"function": f"{FUNCTIONS}:{function}"}
    if aggregator == "filter_cluster":
        members.said = {"filter": says(accepted=True)}
        scoring = {"score_function": scoring["function"]}
    assert outcome(aggregator, members, **scoring) == ("7", 1.0)
    told = f"{FUNCTIONS}:{function}: TypeError: a score must be a finite number, but got {value}"
    assert set(members.failures) == {f"function_error: {told}"}


@pytest.mark.parametrize(
    ("parameter", "function"), [("check_function", "no_truth"), ("key_function", "no_key")]
)
def test_what_is_no_truth_value_or_no_key_is_a_functions_failure(
    parameter: str, function: str
) -> None:
    members = three("7", "9")
    params = {"check_function": f"{FUNCTIONS}:is_number", parameter: f"{FUNCTIONS}:{function}"}
    assert outcome("filter_cluster", members, **params) == ("7", 0.5)
    assert len(members.failures) == 2
    assert all(f"{FUNCTIONS}:{function}: " in failure for failure in members.failures)


@pytest.mark.parametrize("params", [{}, {"key_function": f"{FUNCTIONS}:sign"}])
@pytest.mark.parametrize("given", [("", "", "", "-9"), ("", " ", "-9", "")])
def test_empty_answers_are_no_cluster(params: Any, given: Any) -> None:
    records = [{"answer": answer, "unit": ""} for answer in given]
    members = ScriptedMembers(records, {"filter": says(accepted=False)}, (), {"question": "?"})
    assert outcome("filter_cluster", members, **params) == ("-9", 0.25)


def test_an_empty_answer_never_goes_before_another() -> None:
    members = answers("7", "8", greedy_record={"answer": ""})
    assert outcome("confident_vote", members) == ("7", 0.5)
    assert (
        outcome("judge", answers("7", "8", "8", said={"judge": says(answer="")}), answer="write")[0]
        == "8"
    )
    assert outcome("cascade", answers("I'm not sure: 7", "", labels="ab"))[0] == "I'm not sure: 7"
    assert outcome("cascade", answers("", "", labels="ab")) == ("", 1.0)


def test_the_largest_clusters_best_of_those_that_pass() -> None:
    functions = {
        "check_function": f"{FUNCTIONS}:is_number",
        "key_function": f"{FUNCTIONS}:sign",
        "score_function": f"{FUNCTIONS}:value",
    }
    members = three("x", "x", "x", "3", "5", "4")
    assert outcome("filter_cluster", members, **functions) == ("5", 0.5)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("x", "y", "z", "5", "4"), ("5", 0.4)),  # `value` raises on three of them
        (("x", "5", "-5"), ("5", 0.333)),
        (("x", "y", "z"), ("x", 0.333)),
    ],
)
def test_answers_without_a_key_are_no_cluster(given: Any, expected: Any) -> None:
    members = three(*given)
    members.said = {"filter": says(accepted=True)}
    assert outcome("filter_cluster", members, key_function=f"{FUNCTIONS}:value_sign") == expected


def test_keys_are_equal_if_they_are_written_alike() -> None:
    members = three("Yes", "yes", "yes.", "No", "No")
    members.said = {"filter": says(accepted=True)}
    key = f"{FUNCTIONS}:written"
    assert outcome("filter_cluster", members, key_function=key) == ("No", 0.4)


def test_without_a_key_function_those_that_mean_the_same_are_a_cluster() -> None:
    members = answers("7", "9", "9.0", "7", "9", said={"filter": accepting("7", "9")})
    assert outcome("filter_cluster", members) == ("9", 0.6)


def test_the_first_to_finish_wins_and_a_tie_goes_to_the_quicker() -> None:
    assert outcome("first_to_finish", answers("7", "9", "8", finishing=(2, 0, 1))) == ("8", 1.0)
    members = answers("7", "9", "8", "8", finishing=(1, 3, 2, 0))
    assert outcome("first_to_finish", members, count=3) == ("8", 0.667)
    assert outcome("first_to_finish", answers("7", "9", "8", finishing=(1, 0, 2)), count=2) == (
        "9", 0.5,
    )  # fmt: skip


def test_the_shortest_wins_unless_it_is_rejected_or_empty() -> None:
    tokens = (30, 10, 20, 1)
    assert outcome("shortest", answers("7", "9", "8", "", tokens=tokens)) == ("9", 0.25)
    members = answers("7", "9", "8", "", tokens=tokens, said={"verifier": accepting("7", "8")})
    assert outcome("shortest", members)[0] == "8"
    assert len(members.consulted) == 2


class TestCascade:
    def test_a_step_that_agrees_is_believed_and_the_next_is_not_asked(self) -> None:
        members = answers("7", "7", "9", labels=("a", "b", "c"))
        assert outcome("cascade", members, steps=(2, 1)) == ("7", 1.0)
        assert set(members.asked) == {0, 1}

    def test_a_step_in_doubt_asks_the_next(self) -> None:
        members = answers("7", "8", "9", labels=("a", "b", "c"))
        assert outcome("cascade", members, steps=(2, 1)) == ("9", 0.333)

    @pytest.mark.parametrize(("agreement", "expected"), [(0.6, "7"), (0.7, "9")])
    def test_how_many_must_agree(self, agreement: float, expected: str) -> None:
        members = answers("7", "7", "8", "9", labels="aaab")
        assert outcome("cascade", members, agreement=agreement)[0] == expected

    def test_i_dont_know_escalates_and_so_does_a_failure(self) -> None:
        assert outcome("cascade", answers("I don't know", "9", labels="ab"))[0] == "9"
        assert outcome("cascade", answers(None, "9", labels="ab"))[0] == "9"
        assert outcome("cascade", answers("", "9", labels="ab"))[0] == "9"

    def test_when_the_last_fails_the_one_before_stands(self) -> None:
        assert outcome("cascade", answers("I am not sure: 7", None, labels="ab")) == (
            "I am not sure: 7", 0.5,
        )  # fmt: skip

    def test_a_verifiers_yes(self) -> None:
        members = answers("7", "8", "9", labels="abc", said={"verifier": accepting("8")})
        assert outcome("cascade", members)[0] == "8"
        assert [shown for _, shown in members.consulted] == ['{"answer": "7"}', '{"answer": "8"}']

    @pytest.mark.parametrize(
        ("stated", "expected"),
        [
            *[(high, "7") for high in (0.9, "95%", 90, 1, "100 %")],
            *[(low, "9") for low in (0.5, "high", "1%", "0.9%", "nan", float("nan"), "inf", 250)],
        ],
    )
    def test_a_confidence_that_is_high_enough(self, stated: Any, expected: str) -> None:
        records = [{"answer": "7", "confidence": stated}, {"answer": "9", "confidence": 0.1}]
        members = ScriptedMembers(records, labels="ab")
        assert outcome("cascade", members, confidence=0.8)[0] == expected

    @pytest.mark.parametrize(("params", "expected"), [({"confidence": 0.8}, "7"), ({}, "9")])
    def test_the_confidence_is_no_part_of_the_answer_if_it_counts(
        self, params: Any, expected: str
    ) -> None:
        given = [("7", 0.9), ("7", 0.95), ("9", 0.1)]
        records = [{"answer": answer, "confidence": sure} for answer, sure in given]
        verdict = decided("cascade", ScriptedMembers(records, labels="aab"), **params)
        assert verdict.answer.record in records
        assert verdict.answer.record["answer"] == expected
        assert verdict.agreement == (1.0 if params else pytest.approx(1 / 3))


QUESTION = "Which is red?\n(A) sky\n(B) blood\n(C) grass\n(D) snow"


class TestShuffledVote:
    @pytest.mark.parametrize("before", ["", "Q. Choose:\n", "A. Smith asks:\n"])
    def test_members_see_other_orders_and_letters_are_turned_back(self, before: str) -> None:
        members = _Blind({"context": ["one", "two", "three"], "question": before + QUESTION})
        assert outcome("shuffled_vote", members) == ("B", 1.0)
        assert not members.failures
        orders = [record["question"] for record in members.seen.values()]
        assert orders[0] == before + QUESTION
        assert len(set(orders)) > 1
        assert all(sorted(order.split()) == sorted(orders[0].split()) for order in orders)
        assert all(r["context"] == ["one", "two", "three"] for r in members.seen.values())

    def test_a_member_that_always_says_a_is_spread_over_the_options(self) -> None:
        members = answers(*["A"] * 8, received={"question": QUESTION})
        assert decided("shuffled_vote", members).agreement < 0.8

    @pytest.mark.parametrize(
        ("options", "by_letter", "expected"),
        [
            (["sky", "blood", "grass"], True, "B"),
            (["sky", "blood", "grass"], False, "blood"),
            (["A. blood", "B. sky", "C. grass"], True, "A"),  # letters that go with the texts
            ("(A) sky\n(B) blood\n(C) grass", True, "B"),
        ],
    )
    def test_options_in_a_field_of_their_own(
        self, options: Any, by_letter: bool, expected: str
    ) -> None:
        received = {"question": "Which is red?", "options": options}
        members = _Blind(received, by_letter=by_letter)
        assert outcome("shuffled_vote", members, options="options") == (expected, 1.0)
        assert len({str(record["options"]) for record in members.seen.values()}) > 1
        assert all(record["question"] == "Which is red?" for record in members.seen.values())

    @pytest.mark.parametrize("answer", ["C", "C++"])
    def test_an_option_that_is_a_letter_is_no_place_in_a_list(self, answer: str) -> None:
        options = [answer, "Java", "Rust", "Go"]
        members = answers(*[answer] * 5, received={"options": options})
        assert outcome("shuffled_vote", members, options="options") == (answer, 1.0)

    def test_what_is_more_than_a_letter_stays(self) -> None:
        members = answers(*["C++"] * 5, received={"question": "(A) C\n(B) C++\n(C) C#"})
        assert outcome("shuffled_vote", members) == ("C++", 1.0)

    @pytest.mark.parametrize("value", [None, {"A": "sky", "B": "blood"}, 7, "none", [], ["sky"]])
    def test_without_options_it_is_a_plain_vote(self, value: Any) -> None:
        for params in ({"options": "options"}, {}):
            members = answers("B", "A", "A", received={"options": value})
            assert outcome("shuffled_vote", members, **params) == ("A", 0.667)
            assert all(record == {"options": value} for record in members.seen.values())
            assert members.failures == [
                "no_options: the input 'options' holds fewer than two options to shuffle"
            ]

    @pytest.mark.parametrize("example", [QUESTION, [QUESTION, "(A) yes\n(B) no"]])
    def test_options_of_few_shot_examples_stay_as_they_are(self, example: Any) -> None:
        members = _Blind({"examples": example, "question": QUESTION})
        assert outcome("shuffled_vote", members) == ("B", 1.0)
        assert all(record["examples"] == example for record in members.seen.values())

    @pytest.mark.parametrize(
        ("signature", "field"),
        [
            ("query -> answer", "query"),
            ("examples, question -> answer", "question"),
            ("question, options: list[str] -> answer", "options"),
            ("examples, question, choices -> answer", "choices"),
        ],
    )
    def test_which_field_is_clear(self, signature: str, field: str) -> None:
        module = Module("solve", signature)
        check_aggregator(parse_network("2x a -> shuffled_vote"), module)
        members = _Blind(dict.fromkeys(module.input_fields, QUESTION), reads=field)
        assert outcome("shuffled_vote", members) == ("B", 1.0)
        varied = {
            name
            for name in module.input_fields
            if len({str(record[name]) for record in members.seen.values()}) > 1
        }
        assert varied == {field}

    @pytest.mark.parametrize(
        ("signature", "nearest"),
        [
            ("examples, query -> answer", "query"),
            ("examples, the_question -> answer", "the_question"),
            ("question, options, choices -> answer", "question"),
        ],
    )
    def test_a_field_that_is_not_clear_must_be_named(self, signature: str, nearest: str) -> None:
        module = Module("solve", signature)
        told = r"shuffled_vote: options= must name .* not clear which of \[.*; nearest: "
        with pytest.raises(PipelineError, match=f"{told}'{nearest}'$"):
            check_aggregator(parse_network("2x a -> shuffled_vote"), module)
        check_aggregator(parse_network(f"2x a -> shuffled_vote(options={nearest})"), module)


class _Blind(ScriptedMembers):
    """Five members that find the red one wherever it stands, and tell its letter or its text."""

    def __init__(self, received: Record, *, by_letter: bool = True, reads: str = "") -> None:
        super().__init__([{"answer": ""}] * 5, received=received)
        self.by_letter = by_letter
        self.reads = reads or ("options" if "options" in received else "question")

    def ask(self, members: Any, *, greedy: bool = False, inputs: Any = None) -> Any:
        self.records = [{"answer": self._found(given)} for given in inputs]
        return super().ask(members, greedy=greedy, inputs=inputs)

    def _found(self, received: Record) -> str:
        shown = received[self.reads]
        lines = shown.splitlines() if isinstance(shown, str) else shown
        (place,) = [place for place, line in enumerate(lines) if "blood" in line]
        if not self.by_letter:
            return str(lines[place])
        lettered = re.match(r"\(?([A-Z])\W", lines[place])
        return lettered[1] if lettered else "ABC"[place]


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("mean", [1, 2, 6], 3),
        ("mean", [1.0, 2.5], 1.75),
        ("mean", ["1,000", "2,000"], "1500"),
        ("mean", [1, 2], 2),
        ("median", [1, 2, 600], 2),
        ("median", ["10", "n/a", "30", "20"], "20"),
        ("median", ["n/a", "20", "none"], "20"),
        ("median", [0.5, 0.25], 0.375),
        ("mean", ["0.1", "0.2"], "0.15"),
        ("mean", [1e308, 1.5e308], 1.25e308),
        ("median", ["1e3", "1e-99999999", "1"], "1"),
        ("median", [12345678901234567890] * 2, 12345678901234567890),
    ],
)
def test_numbers(name: str, given: list[Any], expected: Any) -> None:
    members = ScriptedMembers([{"answer": one} for one in given])
    verdict = decided(name, members)
    assert verdict.answer.record == {"answer": expected}
    assert type(verdict.answer.record["answer"]) is type(expected)


def test_other_fields_are_those_of_the_closest_member() -> None:
    records = [{"n": 1, "why": "low"}, {"n": 4, "why": "near"}, {"n": 10, "why": "high"}]
    verdict = decided("mean", ScriptedMembers(records))
    assert verdict.answer.record == {"n": 5, "why": "near"}
    assert verdict.answer.member == 1


def test_one_members_text_that_reads_as_a_number_makes_no_number_field() -> None:
    records = [{"n": 10, "note": "ok"}, {"n": 11, "note": "fine"}, {"n": 900, "note": "3"}]
    verdict = decided("median", ScriptedMembers(records))
    assert verdict.answer.record == {"n": 11, "note": "fine"}


def test_an_answer_without_a_number_is_noted_but_not_an_empty_one() -> None:
    members = answers("42 (approximately)", "42", "", "42 km")
    assert outcome("mean", members) == ("42", 0.25)
    assert members.failures == [
        'unparsable: no number: {"answer": "42 (approximately)"}',
        'unparsable: no number: {"answer": "42 km"}',
    ]


def test_no_number_is_no_outcome() -> None:
    members = answers("many", "few")
    assert made("median").aggregate(members) is None
    assert members.failures == ["unparsable: no member gave a number"]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("3x a -> verifier", "verifier needs a model for its verifier"),
        ("3x a -> judge(answer=guess)", r"judge needs a model|answer: Input should be 'pick'"),
        ("3x a -> cascade", "cascade: a cascade needs at least two steps"),
        ("2x a + b -> cascade(steps=[1, 1])", "steps must add up to the width 3"),
        ("a + b -> cascade(confidence=0.5)", "needs an output field 'confidence'"),
        ("3x a -> majority_vote(weights=[1, 2])", "weights must be one for each of 3 members"),
        ("2x a -> majority_vote(weights=[0, 0])", "not all 0"),
        ("2x a -> majority_vote(weights=[1, -1])", "greater than or equal to 0"),
        ("2x a -> confident_vote(member=2)", "member must be one of 2"),
        ("2x a -> confident_vote(treshold=0.5)", "no such parameter or role; nearest: 'threshold'"),
        ("2x a -> majority_vote(weigths=[1, 2])", "no such parameter; nearest: 'weights'"),
        (f"2x a -> {FUNCTIONS}:Own", "Own: .*missing 1 required positional argument: 'asks'"),
        (f"2x a -> {FUNCTIONS}:Own(asks=[], waits=[1])", "unexpected.*'waits'; nearest: 'weights'"),
        (f"2x a -> {FUNCTIONS}:Own(asks=[], threshold=high)", "threshold must be a number"),
        ("3x a -> first_to_finish(count=3)", "count must be below the width"),
        ("3x a -> best_of", "best_of: needs a function or a scorer, but got neither"),
        (f'3x a -> best_of(b, function="{FUNCTIONS}:value")', "but got both"),
        (f'3x a -> best_of(function="{FUNCTIONS}:vale")', "cannot import function"),
        (f'3x a -> best_of(function="{FUNCTIONS}:other_fields")', "must take the arguments"),
        ("3x a -> filter_cluster", "a check_function or a filter, but got neither"),
        ("3x a -> shuffled_vote(options=choices)", "unknown input field 'choices'"),
    ],
)
def test_what_cannot_work_is_refused_at_the_door(network: str, message: str) -> None:
    module = Module("solve", "question -> answer, unit")
    with pytest.raises(PipelineError, match=message):
        check_aggregator(parse_network(network), module)


RULE = "must be a class that inherits from pipelines.Aggregator"


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("Missing", {}, f"{RULE}: cannot import function .* no attribute 'Missing'"),
        ("Plain", {}, f"{RULE}, but is <class .*Plain'>"),
        ("length", {}, f"{RULE}, but is <function length"),
        ("INSTANCE", {}, f"{RULE}: .* must be callable, but is a Plain"),
        ("NoMethod", {}, ": Can't instantiate abstract class NoMethod .*aggregate"),
        ("Raises", {}, " cannot be made: KeyError: 'setting'"),
        ("Wrong", {"which": "roles", "value": ["judge"]}, "roles must map names to Roles, but got"),
        ("Wrong", {"which": "roles", "value": {"judge": "yes"}}, "roles must map names to Roles"),
        ("Wrong", {"which": "needed", "value": ["judge"]}, "needed must name some of its roles"),
        ("Wrong", {"which": "choices", "value": {"x": [1]}}, "choices must map parameters to val"),
        ("Wrong", {"which": "asks_again", "value": -1}, "asks_again must be a whole number, but"),
    ],
)
def test_an_own_aggregator_that_is_none_is_refused(name: str, params: Any, message: str) -> None:
    with pytest.raises(PipelineError, match=f"{FUNCTIONS}:{name}.*{message}"):
        aggregator(AggregatorConfig(name=f"{FUNCTIONS}:{name}", params=params))


def test_a_role_that_an_aggregator_does_not_have() -> None:
    judge = {"name": "majority_vote", "modules": {"judge": {"models": ["a"]}}}
    config = parse_network("2x a -> majority_vote").model_copy(
        update={"aggregator": AggregatorConfig.model_validate(judge)}
    )
    with pytest.raises(PipelineError, match="majority_vote has no role 'judge'; it asks no model"):
        check_aggregator(config, Module("solve", "question -> answer"))


def test_an_unknown_aggregator_is_answered_with_the_nearest() -> None:
    with pytest.raises(PipelineError, match="unknown aggregator 'mojority'; nearest: 'majority_"):
        aggregator("mojority")
