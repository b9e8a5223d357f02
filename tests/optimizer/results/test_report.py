from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optimizer.results.prompt_changes import prompt_changes
from optimizer.results.report import plots
from optimizer.results.report.heatmap import module_scores_heatmap
from optimizer.results.report.plots import best_for_the_money, best_so_far
from optimizer.results.result import Result
from optimizer.search.records.module_score import ModuleScore
from search_spaces import MemberConfig
from tests.optimizer.made import make_config, make_module_scores, make_result, make_trial

Written = Callable[[Result], str]
VOID = {"meta", "br", "img"}


class _Balance(HTMLParser):
    """Which tags are open; raises where one is closed out of turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_self_contained_and_well_formed(result: Result, written_page: Written) -> None:
    page = written_page(result)
    balance = _Balance()
    balance.feed(page)
    assert balance.open == []
    sources = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page)
    assert len(sources) == 4
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "@import" not in page
    assert "<script" not in page


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
    trial = make_trial(1, detail=nasty, config=make_config(instructions=nasty))
    result = make_result(trials_=(trial,), config=make_config(instructions=nasty), stopped=nasty)
    page = written_page(result)
    assert nasty not in page
    assert "&lt;script&gt;" in page
    assert nasty not in result._repr_html_()


def test_page_labels_search_estimates(written_page: Written) -> None:
    warning = "All scores on this page are search estimates"
    assert warning not in written_page(make_result())
    assert warning in written_page(make_result(held_out=False))


def test_no_secret_is_on_the_page(written_page: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    trial = make_trial(1, None, status="disqualified", detail="bad key sk-planted-0123456789")
    assert "sk-planted" not in written_page(make_result(trials_=(trial,)))


def test_plots_are_pngs_even_when_nothing_was_scored() -> None:
    nothing = make_result(trials_=(make_trial(0, None, status="disqualified"),))
    for drawn in (plots(make_result()), plots(nothing)):
        names = ["cost_and_quality", "held_out", "module_scores", "quality_against_calls"]
        assert sorted(drawn) == names
        assert all(png.startswith(b"\x89PNG") for png in drawn.values())


@pytest.mark.parametrize("missing", ["rating", "measured"])
def test_the_heatmap_shows_what_there_is(missing: str) -> None:
    changes: dict[str, Any] = {missing: None}
    scores = tuple(replace(score, **changes) for score in make_module_scores())
    assert plots(make_result(module_scores_=scores))["module_scores"].startswith(b"\x89PNG")
    nothing = tuple(replace(score, rating=None, measured=None) for score in scores)
    assert "module_scores" not in plots(make_result(module_scores_=nothing))
    assert "module_scores" not in plots(make_result(module_scores_=()))


def test_the_heatmap_grows_with_the_models() -> None:
    def width(models: int) -> int:
        scores = [ModuleScore("solve", f"m{n}", 1, 4, 0.5, None, 0.5, 0.1, "promising")
                  for n in range(models)]  # fmt: skip
        return int.from_bytes(module_scores_heatmap(scores, {}, "judge")[16:20], "big")

    assert width(3) == width(4) < width(20)


def test_the_heatmap_names_the_turn_of_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []
    monkeypatch.setattr(Axes, "set_yticks", lambda _, __, texts, **___: labels.extend(texts))
    module_scores_heatmap(make_module_scores(), {}, "judge")
    assert labels == ["locate\nturn 1", "solve\nturn 2"] * 2, "ratings, and measured scores"


def test_the_legend_covers_no_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig

    def noted(figure: Figure, *where: Any, **how: Any) -> None:
        drawn.append(figure)
        save(figure, *where, **how)

    monkeypatch.setattr(Figure, "savefig", noted)
    plots(make_result())
    assert len(drawn) >= 2
    for figure in drawn[:2]:
        (legend,), (axes,) = figure.legends, figure.axes
        assert not legend.get_window_extent().overlaps(axes.get_window_extent())


def test_the_page_shows_the_path_to_the_tuned_config(written_page: Written) -> None:
    trials = (
        make_trial(0, 0.4),
        make_trial(1, 0.3, base=0, changed="solve.temperature: as given -> 1"),
        make_trial(2, 0.9, base=0, config=make_config(solve="openai/large"),
                   changed="solve.model: openai/small -> openai/large"),
        make_trial(3, 0.92, base=2, config=make_config(solve="openai/large")),
    )  # fmt: skip
    page = written_page(make_result(trials_=trials))
    path = page[page.index("Lineage of trials") : page.index("<h2>Trials")]
    steps = re.findall(r"#(\d) \w+ · (.*?) · <span class=\"score\">(.*?)</span>", path)
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


def test_plots_are_drawn_once(
    result: Result, written_page: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = written_page(result)
    monkeypatch.delattr("optimizer.results.report.plots")
    assert written_page(result) == first
    assert f"base64,{base64.b64encode(result.plots['held_out']).decode()}" in first


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=10))
def test_best_so_far_never_falls_and_ends_at_the_last_trial(scores: list[float | None]) -> None:
    trials = [make_trial(i, score) for i, score in enumerate(scores)]
    calls, best = best_so_far(trials)
    assert best == sorted(best)
    assert calls == sorted(calls)
    if any(score is not None for score in scores):
        assert best[-1] == max(score for score in scores if score is not None)
        assert calls[-1] == trials[-1].nominal_calls


def test_best_for_the_money_never_falls_as_costs_rise() -> None:
    trials = [
        make_trial(i, score, usd_per_example=usd, config=make_config(temperature=i / 10))
        for i, (score, usd) in enumerate([(0.5, 2.0), (0.4, 1.0), (0.45, 3.0), (0.9, 4.0)])
    ]
    assert best_for_the_money(trials) == ([1.0, 2.0, 3.0, 4.0], [0.4, 0.5, 0.5, 0.9])


def test_trials_show_what_is_new_in_their_prompts(written_page: Written) -> None:
    base = make_config()
    config = base.with_knobs("solve", instructions="Check it twice.", demos=({"task": "a"},))
    page = written_page(
        make_result(trials_=(make_trial(0, 0.4), make_trial(1, 0.6, config=config)))
    )
    assert page.count("solve.instructions: Check it twice.; solve.demos: 1 demo") == 1


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
    assert page.count("solve.members.1.instructions: Check it twice.") == 1
