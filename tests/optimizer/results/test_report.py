"""What is on the page, and what may not be; `test_page_in_browser.py` looks at it in a browser."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from optimizer.results.prompt_changes import prompt_changes
from optimizer.results.report import figures
from optimizer.results.report.figures import best_so_far, heatmap, standalone, width_curves
from optimizer.results.report.scale import Scale
from optimizer.results.report.trial_rows import spent_by_stage
from optimizer.results.result import Result
from optimizer.search.records.module_score import ModuleScore
from search_spaces import MemberConfig
from tests.optimizer.made import (
    make_config,
    make_examples,
    make_module_scores,
    make_result,
    make_shown_result,
    make_trial,
)  # fmt: skip

Written = Callable[[Result], str]
VOID = {"meta", "br", "img", "input"}


class _Balance(HTMLParser):
    """Which tags are open; raises where one is closed out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_self_contained_and_well_formed(written_page: Written) -> None:
    page = written_page(make_shown_result())
    balance = _Balance()
    balance.feed(page)
    assert balance.open == []
    sources = re.findall(
        r"""<[^>]*(?:src|href)\s*=\s*["']([^"']*)""", page.partition('id="data"')[0]
    )
    assert sources
    assert all(source.startswith("#") for source in sources)
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_page_shows_figures_trials_failures_and_provenance(
    result: Result, written_page: Written
) -> None:
    page = written_page(result)
    for shown in (
        "88.3%", "[78.0, 94.2]", "+46.6 points", "openai/large", "stopped early",
        "40 server_error", "the server answers 500", "refusal", "85.0%", "ab" * 32,
    ):  # fmt: skip
        assert shown in page


def test_what_models_and_users_wrote_is_escaped(written_page: Written) -> None:
    nasty = "<script>alert(1)</script>"
    trial = make_trial(1, detail=nasty, config=make_config(nasty, instructions=nasty))
    scores = (ModuleScore(nasty, nasty, 1, 4, 0.5, None, 0.5, 0.1, "promising"),)
    result = make_result(
        trials_=(trial,), config=make_config(nasty, instructions=nasty), stopped=nasty,
        module_scores_=scores, examples_=make_examples(3), single_model_label=nasty,
    )  # fmt: skip
    page = written_page(result)
    assert nasty not in page
    assert "&lt;script&gt;" in page
    assert page.count("<script") == page.count("</script") == 2, "the data, and the page's own"
    assert nasty not in result._repr_html_()


def test_page_labels_search_estimates(written_page: Written) -> None:
    warning = "All scores on this page are search estimates"
    assert warning not in written_page(make_result())
    assert warning in written_page(make_result(held_out=False))


@pytest.mark.parametrize("secret", ["sk-planted-0123456789", 'sk-<planted>&"0123456789'])
def test_no_secret_is_on_the_page(
    written_page: Written, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """Not in what is escaped, in JSON, in a figure, or cut in half."""
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    trial = make_trial(1, None, status="disqualified", detail=f"bad key {secret}")
    (example,) = make_examples(1)
    told = replace(
        example,
        inputs={"question": "x" * 150 + secret},
        replies={"raw": f"my key is {secret}"},
    )
    result = make_result(
        trials_=(trial,), examples_=(told,), config=make_config(instructions=secret), stopped=secret
    )
    page = written_page(result)
    assert "planted" not in page
    assert "OPENAI_API_KEY" in page


def test_figures_are_pictures_even_when_nothing_was_scored() -> None:
    nothing = make_result(trials_=(make_trial(0, None, status="disqualified"),))
    for drawn in (figures(make_result()), figures(nothing)):
        names = ["cost_and_quality", "held_out", "latency_and_quality", "module_scores",
                 "pipeline", "quality_against_calls"]  # fmt: skip
        assert sorted(drawn) == names
        for svg in drawn.values():
            root = ElementTree.fromstring(standalone(svg))
            assert root.tag == "{http://www.w3.org/2000/svg}svg"
            assert "nan" not in svg.lower().replace("nano", "")


def test_only_known_latencies_are_drawn() -> None:
    one = make_trial(0, latency_s=math.nan)
    other = make_trial(1, config=make_config(temperature=0.5))
    drawn = figures(make_result(trials_=(one, other)))
    assert "nan" not in drawn["latency_and_quality"].lower().replace("nano", "")
    assert "#1 " in drawn["latency_and_quality"]
    assert "#0 " not in drawn["latency_and_quality"]
    assert "n/a per example" in drawn["cost_and_quality"]
    assert "latency_and_quality" not in figures(make_result(trials_=(one,)))


@pytest.mark.parametrize("missing", ["rating", "measured"])
def test_the_heatmap_shows_what_there_is(missing: str) -> None:
    changes: dict[str, Any] = {missing: None}
    scores = tuple(replace(score, **changes) for score in make_module_scores())
    drawn = figures(make_result(module_scores_=scores))["module_scores"]
    assert ("rated, turn 2" in drawn) is (missing == "measured")
    assert ("measured, turn 2" in drawn) is (missing == "rating")
    assert "locate" in drawn
    nothing = tuple(replace(score, rating=None, measured=None) for score in scores)
    assert "module_scores" not in figures(make_result(module_scores_=nothing))
    assert "module_scores" not in figures(make_result(module_scores_=()))


def test_the_heatmap_names_the_turn_of_each_module_and_outlines_the_tuned_models() -> None:
    drawn = figures(make_result())["module_scores"]
    for shown in ("rated, turn 1", "rated, turn 2", "0.95", "of 4", "90.0 ± 5.0", "eliminated"):
        assert shown in drawn
    assert drawn.count("stroke-width") == 4, "small in locate and large in solve, both panels"


def test_the_graph_shows_wiring_and_what_changed() -> None:
    drawn = figures(make_result())["pipeline"]
    for shown in ("table, question → task", "task → answer", "was openai/small", "as given"):
        assert shown in drawn
    assert drawn.count("<path") == 2 * 3, "inputs, locate, solve, outputs: a wire and a head each"


def test_the_page_shows_the_path_to_the_tuned_config(written_page: Written) -> None:
    trials = (
        make_trial(0, 0.4),
        make_trial(1, 0.3, base=0, changed="solve.temperature: as given -> 1"),
        make_trial(2, 0.9, base=0, config=make_config(solve="openai/large"),
                   changed="solve.model: openai/small -> openai/large"),
        make_trial(3, 0.92, base=2, config=make_config(solve="openai/large")),
    )  # fmt: skip
    page = written_page(make_result(trials_=trials))
    path = page[page.index("Lineage of trials") : page.index('<section id="failures"')]
    steps = re.findall(r'#(\d)</a> \S+ · <span class="clip">(.*?)</span> · <b>(.*?)</b>', path)
    assert steps == [
        ("0", "the pipeline as given", "40.0%"),
        ("1", "solve.temperature: as given -&gt; 1", "30.0%"),
        ("2", "solve.model: openai/small -&gt; openai/large", "90.0%"),
        ("3", "more examples", "92.0%"),
    ]
    assert "1 other departed from #0" in path


def test_the_page_names_the_diagnoser_and_lists_what_ran_beside_the_trials(
    result: Result, written_page: Written
) -> None:
    page = written_page(result)
    assert "Diagnoser: openai/large" in page
    assert "the diagnoser was openai/large" in page
    assert "16 runs of single modules and 1 prompt tried inside optimizers" in page
    assert "gepa: solve.instructions: as given -&gt; Check it twice." in page
    assert "locate $0.00100, 0.50 s; solve $0.00400, 1.00 s" in page


def test_figures_are_drawn_once(
    result: Result, written_page: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = written_page(result)
    monkeypatch.delattr("optimizer.results.report.figures")
    assert written_page(result) == first
    assert result.plots["held_out"] in first


def test_texts_and_runs_are_in_the_page_once(written_page: Written) -> None:
    page = written_page(make_result(examples_=make_examples(40)))
    (data,) = re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)
    data = json.loads(data)
    assert len(data["examples"]) == 40
    assert len(set(data["texts"])) == len(data["texts"])
    assert sum("a line of a table" in text for text in data["texts"]) == 2, (
        "with the needle, and without"
    )
    assert data["texts"][data["runs"][0]["steps"][1]["calls"][0]["model"]] == "openai/large"


def test_labels_that_are_no_unicode_do_not_end_the_report(written_page: Written) -> None:
    (example,) = make_examples(1)
    odd = replace(example, labels={"answer": "half a pair: \ud800"})
    assert "half a pair: ?" in written_page(make_result(examples_=(odd,)))


def test_what_each_stage_took_adds_up() -> None:
    result = make_result()
    parts = spent_by_stage(result)
    assert sum(part.calls for part in parts) == result.spent.calls
    assert sum(part.usd for part in parts) == pytest.approx(result.spent.usd)
    assert [part.name for part in parts] == ["baseline", "single-model", "allocation"]


def test_width_curves_join_trials_that_differ_in_one_width_only() -> None:
    def vote(number: int, width: int, mean: float, **changes: Any) -> Any:
        knobs: dict[str, Any] = {"width": width, "aggregator": "majority_vote"} if width > 1 else {}
        return make_trial(number, mean, config=make_config(**knobs, **changes))

    trials = [
        vote(0, 1, 0.4), vote(1, 3, 0.5), vote(2, 5, 0.6), vote(3, 3, 0.9, solve="openai/large"),
        replace(vote(4, 9, 0.7), status="stopped_early"), vote(5, 5, 0.7, temperature=0.7),
    ]  # fmt: skip
    ((name, scores),) = width_curves(trials)
    assert name == "solve: openai/small, majority vote"
    assert {width: score.mean for width, score in scores.items()} == {1: 0.4, 3: 0.5, 5: 0.6}
    assert "widths" in figures(make_result(trials_=tuple(trials)))


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=8), st.booleans(), st.floats(1e-6, 1e6))
@example([840481778.0, 1e-9], True, 1.0)
@example([363378521.46847165], False, 363378521.4684716)
def test_scales_keep_order_and_have_round_values_inside(
    values: list[float], log: bool, other: float
) -> None:
    scale = Scale.over([*values, other], 10, 200, log=log)
    places = [scale(value) for value in sorted([*values, other])]
    assert all(10 <= place <= 200 for place in places)
    assert all(one <= next_one for one, next_one in pairwise(places))
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 20
    assert all(scale.low <= tick * 1.000001 and tick <= scale.high * 1.000001 for tick in ticks)


def test_a_narrow_figure_has_room_for_its_title() -> None:
    title = "Module scores: each model in each module"
    (one,) = [s for s in make_module_scores() if s.decision == "chosen"]
    drawn = ElementTree.fromstring(heatmap([one], {}))
    assert drawn.get("aria-label") == title
    assert float(drawn.get("width", 0)) > 7 * len(title)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=10))
def test_best_so_far_never_falls_and_ends_at_the_last_trial(scores: list[float | None]) -> None:
    trials = [make_trial(i, score) for i, score in enumerate(scores)]
    calls = [place for place, _ in best_so_far(trials)]
    best = [score for _, score in best_so_far(trials)]
    assert best == sorted(best)
    assert calls == sorted(calls)
    if any(score is not None for score in scores):
        assert best[-1] == max(score for score in scores if score is not None)
        assert calls[-1] == trials[-1].nominal_calls


def test_trials_show_what_is_new_in_their_prompts(written_page: Written) -> None:
    base = make_config()
    config = base.with_knobs("solve", instructions="Check it twice.", demos=({"task": "a"},))
    page = written_page(
        make_result(trials_=(make_trial(0, 0.4), make_trial(1, 0.6, config=config)))
    )
    chips = re.findall(r'class="chip"><i>(.*?)</i> (.*?)</span>', page)
    assert chips == [("solve.instructions", "Check it twice."), ("solve.demos", "1 demo")]


def test_prompts_of_members_are_compared_with_the_modules(written_page: Written) -> None:
    own = MemberConfig("openai/small", instructions="Check it twice.")
    message = make_config(solve="openai/small", instructions="Solve it.")
    wide = message.with_knobs("solve", members=("openai/small", own), aggregator="majority_vote")
    result = make_result(
        baseline_config=message, config=wide, trials_=(make_trial(1, config=wide),)
    )
    assert [(c.module, c.old, c.new) for c in prompt_changes(result)] == [
        ("solve.members.1", "Solve it.", "Check it twice.")
    ]
    page = written_page(result)
    assert "<dt>solve.members.1.instructions</dt><dd>Check it twice.</dd>" in page
