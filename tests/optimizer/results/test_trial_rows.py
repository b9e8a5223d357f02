from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from optimizer.results.report.trial_rows import best_path, branches
from optimizer.search.records.trial import Trial
from tests.optimizer.made import make_config, make_trial

TUNED = make_config(solve="openai/large")


@st.composite
def descents(draw: st.DrawFn) -> list[Trial]:
    """Trials with any earlier one as their base; some of them have the tuned config."""
    size = draw(st.integers(1, 12))
    return [
        make_trial(
            number,
            base=draw(st.integers(0, number - 1)) if number else None,
            config=TUNED if draw(st.booleans()) else make_config(temperature=number / 10),
        )
        for number in range(size)
    ]


@given(descents())
def test_every_trial_is_below_its_base_once(trials: list[Trial]) -> None:
    below = branches(trials)
    assert list(below) == [trial.number for trial in trials]
    assert sum(map(len, below.values())) == len(trials) - 1, "all but the first"
    for base, others in below.items():
        assert [trial.number for trial in others] == sorted(t.number for t in others)
        assert all(trial.base == base for trial in others)


@given(descents())
def test_the_best_path_leads_from_the_baseline_to_the_tuned_configs_last_trial(
    trials: list[Trial],
) -> None:
    path = best_path(trials, TUNED)
    tuned = [trial.number for trial in trials if trial.config == TUNED]
    if not tuned:
        assert path == []
        return
    assert (path[0].number, path[-1].number) == (0, tuned[-1])
    assert [trial.base for trial in path] == [None, *(trial.number for trial in path[:-1])]


def test_a_stage_that_failed_ends_no_path() -> None:
    failed = make_trial(2, None, status="failed", base=1, config=TUNED)
    trials = [make_trial(0), make_trial(1, config=TUNED), failed]
    assert [trial.number for trial in best_path(trials, TUNED)] == [0, 1]
    assert branches(trials)[1] == [failed]
