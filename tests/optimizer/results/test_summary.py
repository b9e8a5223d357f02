from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluators.objective import Objective
from evaluators.statistics import Interval
from optimizer.formatting import command, counted, dollars, number, percent, points, seconds
from optimizer.results.decision import decision
from optimizer.results.operating_points import OperatingPoint
from optimizer.results.result import DiagnoserAgreement, HeldOut, Result, Withdrawn
from optimizer.results.summary import changes, diagnoser_lines
from optimizer.results.summary_text import code_options, summary_text
from pipelines import Module, Pipeline
from search_spaces import MemberConfig, ModuleConfig, PipelineConfig
from tests.optimizer.made import (
    make_config,
    make_pipeline,
    make_result,
    make_shown_result,
    make_trial,
    make_trials,
)


def test_summary_tells_scores_changes_and_spend(result: Result) -> None:
    text = str(result)
    for message in (
        "5 trials, metric exact_match",
        "60 examples held out",
        "41.7%  [30.1, 54.3]",
        "openai/large in all modules; 1 unscored",
        "88.3%  [78.0, 94.2]",
        "Gain over the baseline: +46.6 points [+33.0, +59.0].",
        "Gain over openai/large in all modules: +44.2 points",
        "Cost per example: $0.00120 -> $0.00500 (+317%).",
        "solve.model  openai/small -> openai/large",
        "paid now: $0.100 for 160 calls",
        "locate: rated 24 examples; agreed with measured scores in 85.0% of 40 comparisons",
        "solve: rated 24 examples; nothing to compare",
        "Diagnoser: openai/large",
        "beside the trials: 16 runs of single modules and 1 prompt tried inside optimizers",
        "result.pipeline(table=..., question=...)",
    ):
        assert message in text
    total = next(line for line in text.splitlines() if "total" in line)
    assert total.split() == ["total", "$0.250", "400", "61,000"]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (make_config(solve="b"), "b for solve"),
        (make_config("a", "b"), "a for locate and b for solve"),
        (make_config("b", "b"), "b for all modules"),
        (make_config(solve="b", temperature=0.7, instructions="Hurry."),
         "b with a new prompt and temperature 0.7 for solve"),
        (make_config(reply_format="json", demos=({"task": "a"},)),
         "a new prompt and replies in json for solve"),
        (make_config(solve="b", width=3, aggregator="majority_vote"),
         "3x b by majority vote for solve"),
    ],
)  # fmt: skip
def test_the_first_sentence_is_the_decision(config: PipelineConfig, sentence: str) -> None:
    text = " ".join(str(make_result(config=config)).split())
    assert text.startswith(
        f"{sentence}: +46.6 points [+33.0, +59.0] held out, 4.2x the cost per example. locate-solve"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"held_out": False}, "estimated at +46.6 points [+33.0, +59.0] on the examples"),
        ({"gain": Interval(0.02, -0.01, 0.05)}, "[-1.0, +5.0] held out, not shown to be better,"),
        ({"gain": Interval(-0.1, -0.2, -0.05)}, "-10.0 points [-20.0, -5.0] held out, worse,"),
        ({"tuned_figures": HeldOut(60, Interval(0.8, 0.7, 0.9), 0.0003, 1.0, 1.0)},
         "held out, 0.25x the cost per example."),
        ({"tuned_figures": HeldOut(60, Interval(0.8, 0.7, 0.9), 0.1, 1.0, 1.0, disqualified=True)},
         "no gain is claimed, since too many held-out examples met outages,"),
    ],
)  # fmt: skip
def test_the_decision_claims_what_was_shown(changes: dict[str, Any], words: str) -> None:
    assert words in decision(make_result(**changes))


def test_the_decision_counts_the_cheaper_points_that_are_not_the_baseline() -> None:
    result = make_shown_result()
    assert decision(result).endswith("; 1 cheaper point: result.pick(...).")
    assert "; 1 cheaper point: --pareto and --max-cost-usd" in summary_text(result, shell=True)


def test_a_choice_that_was_withdrawn_is_the_decision() -> None:
    figures = HeldOut(60, Interval(0.3, 0.2, 0.4), 0.001, 1.0, 1.0)
    tuned = dataclasses.replace(make_pipeline(), config=make_config(solve="openai/large"))
    withdrawn = Withdrawn(tuned, figures, Interval(-0.1, -0.2, -0.05))
    text = decision(make_result(config=make_config(), withdrawn=withdrawn))
    assert text == (
        "Kept the pipeline as given: what the search chose (locate=openai/small, "
        "solve=openai/large) scored 30.0% on the held-out examples, 41.7% the given one "
        "(-10.0 points [-20.0, -5.0])."
    )


def test_unchanged_result_says_so_and_claims_nothing() -> None:
    text = str(make_result(config=make_config(), gain=Interval(0.0, 0.0, 0.0)))
    assert text.startswith("Kept the pipeline as given: no config was found to be better.\n\n")
    assert "Gain over the baseline" not in text
    assert "What changed" not in text


def test_gain_whose_interval_includes_zero_is_not_claimed() -> None:
    text = str(make_result(gain=Interval(0.02, -0.01, 0.05)))
    assert "Not shown to be better than the baseline: +2.0 points [-1.0, +5.0]" in text
    assert "Gain over the baseline" not in text


def test_loss_is_called_a_loss() -> None:
    text = str(make_result(gain=Interval(-0.1, -0.2, -0.05)))
    assert "WORSE than the baseline: -10.0 points [-20.0, -5.0]" in text


@pytest.mark.parametrize(
    ("gain", "message"),
    [
        (Interval(-0.1, -0.2, -0.05), "WORSE than openai/large in all modules"),
        (Interval(0.0, -0.1, 0.1), "Not shown to be better than openai/large in all modules"),
    ],
)
def test_best_single_model_is_not_beaten_by_words(gain: Interval, message: str) -> None:
    assert message in str(make_result(gain_over_single=gain))


def test_search_estimates_are_labelled_everywhere() -> None:
    text = str(make_result(held_out=False))
    assert "search estimates on 60 examples, not measured on held-out ones" in text
    assert "Estimated gain over the baseline" in text
    assert "\nGain over" not in text


def test_summary_says_why_the_search_stopped() -> None:
    assert "stopped early: the budget ended" in str(make_result(stopped="the budget ended"))


def test_summary_says_who_was_disqualified(result: Result) -> None:
    message = "1 config disqualified because too many calls failed; the first: locate: the server"
    assert message in " ".join(str(result).split())
    assert "disqualified" not in str(make_result(trials_=make_trials()[:2]))


def test_what_fails_again_and_again_is_reported_once() -> None:
    detail = "mipro failed on solve: ValueError: no traces"
    trials = [make_trial(n, None, status="failed", base=0, detail=detail) for n in (1, 2, 3)]
    printed = " ".join(str(dataclasses.replace(make_result(), trials_=tuple(trials))).split())
    assert printed.count(detail) == 1
    assert f"{detail} (3 times)" in printed


def test_commands_can_be_typed_where_nothing_is_activated(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Path(sys.executable)
    monkeypatch.setenv("PATH", "/nowhere")
    typed = command(program.name)
    assert Path(typed).resolve() == program.resolve()
    assert Path(typed) != Path(program.name)
    monkeypatch.setenv("PATH", str(program.parent))
    assert command(program.name) == program.name
    assert command("no-such-program") == "no-such-program"


def test_ui_command_names_the_store() -> None:
    uri = "sqlite:////data/mlruns/mlflow.db"
    assert f"mlflow ui --backend-store-uri {uri}" in str(make_result(tracking_uri=uri, run_id="1"))
    assert uri not in str(make_result(tracking_uri=uri, run_id=None)), "it was away"


def test_what_can_be_saved_can_be_served() -> None:
    printed = str(make_result())
    served = f"{command('compound-optimizer')} serve tuned.yaml"
    assert f'  result.save("tuned.yaml")\n  {served}\n' in printed
    function = Module("trim", "obj -> final", function="json:dumps")
    code = Pipeline("with-code", [*make_pipeline().modules, function])
    assert "compound-optimizer serve tuned.yaml --allow-code\n" in str(make_result(pipeline=code))
    function = dataclasses.replace(function, function=lambda obj: obj)
    unnamed = dataclasses.replace(code, modules=[*code.modules[:-1], function])
    assert "tuned.yaml" not in str(make_result(pipeline=unnamed))
    assert code_options({"program": {"class": "Own"}}) == " --program MODULE:OBJECT"


def test_lines_fit_a_terminal(result: Result) -> None:
    assert max(map(len, str(result).splitlines())) <= 100


@pytest.mark.parametrize(
    ("usd", "text"),
    [(0, "$0.00"), (12.345, "$12.35"), (1234.5, "$1,234.50"), (0.25, "$0.250"),
     (0.0012345, "$0.00123"), (1.5e-7, "$0.000000150"), (float("nan"), "n/a")],
)  # fmt: skip
def test_dollars(usd: float, text: str) -> None:
    assert dollars(usd) == text


@pytest.mark.parametrize(
    ("duration", "text"),
    [(0.421, "0.42 s"), (12.4, "12 s"), (59.6, "1:00"), (185, "3:05"), (3729, "1:02:09")],
)
def test_seconds(duration: float, text: str) -> None:
    assert seconds(duration) == text


def test_points_percent_and_counts() -> None:
    assert points(Interval(-0.012, -0.05, 0.026)) == "-1.2 points [-5.0, +2.6]"
    assert points(Interval(-0.0001, -0.0004, 0.0)) == "+0.0 points [+0.0, +0.0]", "no -0.0"
    assert (percent(0.4167), percent(float("nan"))) == ("41.7%", "n/a")
    assert (counted(1, "trial"), counted(1200, "trial")) == ("1 trial", "1,200 trials")


def test_a_vote_of_the_single_model_is_more_than_that_model() -> None:
    both = {"models": ("openai/large",)}
    wide = make_config(locate="openai/large").with_knobs(
        "solve", **both, width=3, aggregator="majority_vote"
    )
    message = " ".join(str(make_result(config=wide)).split())
    assert "What was found is the best single model" not in message
    assert "Gain over openai/large in all modules: +44.2 points" in message
    single = make_config("openai/large", "openai/large")
    assert "What was found is the best single model" in str(make_result(config=single))


@pytest.mark.parametrize(
    ("on_the_search", "message"),
    [
        (0.004, "(quality, cost at most $0.0045 per example) was met on the search examples, "
                "but not on those held out: $0.00500 and 2.25 s per example"),
        (0.006, "no config met the objective (quality, cost at most $0.0045 per example): this is "
                "the closest, at $0.00500"),
    ],
)  # fmt: skip
def test_an_objective_that_is_not_met_is_reported(on_the_search: float, message: str) -> None:
    tuned = make_config(solve="openai/large")
    trials = (*make_trials(), make_trial(9, 0.9, config=tuned, usd_per_example=on_the_search))
    result = make_result(objective=Objective(max_cost_usd=0.0045), trials_=trials)
    assert message in " ".join(str(result).split())
    assert "objective" not in str(make_result(objective=Objective(max_cost_usd=1), trials_=trials))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.6666666666666666, "0.6667"), (1.0, "1"), (12.3456, "12.35"), (12345.678, "12,346"),
     (1e16, "10,000,000,000,000,000"), (1.23456e-7, "1.235e-07"), (float("inf"), "inf")],
)  # fmt: skip
def test_numbers_are_short_and_readable(value: float, text: str) -> None:
    assert number(value) == text


def test_parameters_of_functions_are_reported_in_short() -> None:
    def with_share(share: float) -> PipelineConfig:
        modules = {**make_config().modules, "trim": ModuleConfig(params={"share": share, "k": 3})}
        return PipelineConfig(modules=modules)

    before, after = with_share(0.5), with_share(0.12345678901234567)
    text = str(make_result(baseline_config=before, config=after))
    assert "trim.share  0.5 -> 0.1235" in text


def test_the_front_tells_by_what_a_point_is_picked() -> None:
    pipeline = dataclasses.replace(make_pipeline(), config=make_config())
    front = (
        OperatingPoint(pipeline, Interval(0.85, 0.8, 0.9), 0.01, 2.0, 3.5, "holdout", 0.91),
        OperatingPoint(pipeline, Interval(0.7, 0.6, 0.8), 0.001, 1.0, 1.5, "search", 0.7),
    )
    result = make_result(objective=Objective(pareto=True), points=front)
    message = " ".join(str(result).split())
    assert "85.0% [80.0, 90.0] $0.0100 2.00 s 3.50 s 91.0% held out" in message
    assert "70.0% [60.0, 80.0] $0.00100 1.00 s 1.50 s 70.0% search estimate" in message
    assert "To choose from by the estimate, with result.pick(...)" in str(result)
    assert "91.0%" in result._repr_html_()
    assert "85.0% held out, 91.0% by the search's estimate" in str(front[0])
    assert str(front[0]).endswith("$0.0100 and 2.00 s per example, at most 3.50 s in 95% of them")


def test_a_tail_that_was_limited_is_reported_before_and_after() -> None:
    limited = Objective(max_latency_p95_s=4)
    message = " ".join(str(make_result(objective=limited)).split())
    assert "Latency in 95% of the examples: at most 2.50 s -> 4.50 s." in message
    assert (
        "(quality, latency at most 4 s in 95% of the examples) was met on the search examples, but "
        "not on those held out: $0.00500 and 2.25 s per example, at most 4.50 s in 95% of 60"
    ) in message
    met = str(make_result(objective=Objective(max_latency_p95_s=4.5)))
    assert "was met on the search" not in met
    assert "no config met" not in met
    assert "no config met" in str(make_result(objective=Objective(max_latency_p95_s=1)))
    assert "95% of" not in str(make_result())


def test_on_the_command_line_nothing_is_reported_in_python() -> None:
    result = make_result(objective=Objective(pareto=True), points=())
    assert "result." in str(result)
    assert "result." not in summary_text(result, shell=True)


def test_a_diagnoser_that_nobody_can_read_is_reported() -> None:
    message = diagnoser_lines(
        make_result(
            diagnoser=(
                DiagnoserAgreement("locate", None, 0, 0, asked=12, unread=12),
                DiagnoserAgreement("find", None, 2, 0, asked=3, unread=3, truncated=3),
                DiagnoserAgreement("solve", 0.5, 3, 4, asked=4, unread=1),
                DiagnoserAgreement("vote", None, 0, 0),
                DiagnoserAgreement("check", None, 0, 0, asked=3),
                DiagnoserAgreement("look", None, 0, 0, asked=8, unanswered=8),
            )
        )
    )
    assert message == [
        "locate: could not be read in 12 of 12 questions",
        "find: rated 2 examples without a question (outputs alike or failed); nothing "
        "to compare its ratings with; could not be read in 3 of 3 questions; 3 of the replies were "
        "cut off: raise its max_tokens, or name another diagnoser",
        "solve: rated 3 examples; agreed with measured scores in 50.0% of 4 comparisons; could "
        "not be read in 1 of 4 questions",
        "check: asked 3 questions for its prompt",
        "look: got no answer to 8 of 8 questions, after outages",
    ]


def test_the_early_choice_of_the_diagnoser_is_not_taken_for_the_rival() -> None:
    chosen = str(make_result(diagnoser_chosen=True))
    assert "Diagnoser: openai/large, the best single model on the first few examples\n" in chosen
    assert "first few" not in str(make_result())


def test_runs_that_fail_are_reported_where_they_are_many() -> None:
    def figures(failed: int) -> HeldOut:
        kinds = {"program_error": failed} if failed else {}
        return HeldOut(60, Interval(0.5, 0.4, 0.6), 0.001, 1.0, 1.5, failures=kinds)

    text = str(make_result(baseline_figures=figures(40), tuned_figures=figures(6)))
    assert "40 of 60 runs of the baseline pipeline failed (program_error x40)" in text
    assert "of the tuned pipeline failed" not in text
    assert "7 of 60 runs of the tuned pipeline" in str(make_result(tuned_figures=figures(7)))


def test_models_whose_replies_are_often_unread_are_named_with_what_may_help() -> None:
    def tuned(form: str, unread: int, also_tried: str = "chat") -> str:
        config = make_config().with_knobs("solve", reply_format=form)
        (label,) = config.modules["solve"].models
        read = {label: (unread, 60)}
        figures = HeldOut(60, Interval(0.5, 0.4, 0.6), 0.001, 1.0, 1.5, unread=read)
        tried = make_config().with_knobs("solve", reply_format=also_tried)
        trials = (*make_trials(), make_trial(5, 0.6, config=tried))
        result = make_result(config=config, tuned_figures=figures, trials_=trials)
        return " ".join(str(result).split())

    said = "12 of 60 replies in the tuned pipeline could not be read; "
    assert f'{said}try SearchSpace(reply_format=("chat", "json"))' in tuned("chat", 12)
    assert f'{said}try SearchSpace(reply_format=("chat", "xml"))' in tuned("json", 12)
    assert f"{said}the search tried json, which did not earn its place" in (
        tuned("chat", 12, also_tried="json")
    )
    assert "could not be read" not in tuned("chat", 6)


def test_prompts_that_members_have_of_their_own_are_reported() -> None:
    def voting(instructions: str, temperature: float | None = None) -> PipelineConfig:
        own = MemberConfig("b", instructions=instructions, temperature=temperature)
        return make_config().with_knobs("solve", members=("a", own), aggregator="majority_vote")

    before, after = voting("Think."), voting("Be brief.")
    found = [tuple(change) for change in changes(make_result(baseline_config=before, config=after))]
    assert found == [("solve.members.1.instructions", "Think.", "Be brief.")]
    cooler = make_result(baseline_config=before, config=voting("Think.", 0.2))
    assert [change.knob for change in changes(cooler)] == ["solve.network"]
    plain = make_config()
    assert [tuple(change) for change in changes(make_result(config=after, baseline_config=plain))][
        :2
    ] == [
        ("solve.network", "openai/small", "[1x a + 1x b(prompt 2) -> majority_vote]"),
        ("solve.members.1.instructions", "as given", "Be brief."),
    ]


@pytest.mark.parametrize("ends", [("Be brief.", "Take your time."), ("", "Take your time.")])
def test_long_texts_are_reported_from_where_they_part(ends: tuple[str, str]) -> None:
    before, after = (
        make_config().with_knobs("solve", instructions="Do as you are told. " * 9 + end)
        for end in ends
    )
    text = str(make_result(baseline_config=before, config=after))
    assert f"told. {ends[1]}" in text
    assert "Do as you are told." not in text, "that is in both"
