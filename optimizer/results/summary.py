"""The summary of a result as text and tables, for the terminal, the notebook and the report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from optimizer.formatting import (
    agreement_text,
    counted,
    dollars,
    percent,
    percent_interval,
    points,
    seconds,
)
from optimizer.results.decision import PICKING, decision
from optimizer.search.records.config_changes import Change, config_changes
from optimizer.search.records.trial import config_text, last_trials, shortened

if TYPE_CHECKING:
    from evaluators.statistics import Interval
    from optimizer.results.operating_points import OperatingPoint
    from optimizer.results.result import DiagnoserAgreement, HeldOut, Result
    from search_spaces import PipelineConfig


_VOTES = ("majority_vote", "confident_vote", "filter_vote", "shuffled_vote")
_MOST_FAILED = 0.1
"""A larger share of failed runs is reported."""
_FEWEST, _HARDLY = 8, 0.05
"""Agreement is judged on at least this many examples; a share as low as this counts as none."""
_FIGURE = re.compile(r"[$\[]?[-+]?\d[\d.,: ]*[%\]s]?|n/a|")
"""A cell that holds a number, or nothing."""


class Table(NamedTuple):
    """Rows of texts under their header."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    @property
    def figures(self) -> tuple[bool, ...]:
        """Which columns hold numbers only."""
        return tuple(
            any(cells) and all(map(_FIGURE.fullmatch, cells))
            for cells in zip(*self.rows, strict=True)
        )


class Section(NamedTuple):
    """One part of the summary."""

    title: str
    """Empty where the part needs none."""
    blocks: Sequence[str | Table]
    """Lines of text, and tables."""


def sections(result: Result, picking: str = PICKING) -> Iterator[Section]:
    """The summary, part by part; the decision comes first. `picking` as for `decision`."""
    yield Section("", [decision(result, picking)])
    trials = counted(len(result.trials_), "trial")
    metric = f", metric {result.metric}" if result.metric else ""
    title = f"{result.pipeline.name}: {trials}{metric}"
    yield Section("", [title, measured_on(result), *cautions(result)])
    yield Section("", [finalists_table(result)])
    yield Section("", list(verdict_lines(result)))
    changed = [
        (c.knob, f"{shortened(c.old, 100)} -> {shortened(c.new, 100)}") for c in changes(result)
    ]
    yield Section("What changed", [Table(("", ""), changed)] if changed else [])
    if result.objective.pareto and result.points:
        header = "score", "95% interval", "$/example", "latency", "p95", "estimate", "scores are"
        rows = [(config_text(point.config), *point_cells(point)) for point in result.points]
        front = Table(("", *header), rows)
        yield Section(f"To choose from by the estimate, with {picking}", [front])
    yield Section("Pipelines raced", [patterns_table(result)] if result.patterns_ else [])
    yield Section("What it took", [spend_table(result), paid_now(result), *probes_lines(result)])
    yield Section(diagnoser_title(result), diagnoser_lines(result))
    yield Section("Judge", judge_lines(result))


def measured_on(result: Result) -> str:
    """Whether figures are held-out means, or the estimates by which the search chose."""
    examples = counted(result.tuned_figures.examples, "example")
    corrected = ", corrected for the judge's errors" if result.judge and result.judge.labels else ""
    if result.held_out:
        return f"scored on {examples} held out from the search{corrected}"
    estimates = f"search estimates on {examples}{corrected}"
    return f"{estimates}, not measured on held-out ones: expect less on new data"


def cautions(result: Result) -> list[str]:
    """Warnings about what limited the search."""
    lines = [f"stopped early: {result.stopped}"] if result.stopped else []
    lines += result.left_out
    unfit = [t.detail for t in last_trials(result.trials_) if t.status == "disqualified"]
    if unfit:
        configs = counted(len(unfit), "config")
        lines.append(f"{configs} disqualified because too many calls failed; the first: {unfit[0]}")
    failed = Counter(trial.detail for trial in result.trials_ if trial.status == "failed")
    lines += [f"{text} ({n} times)" if n > 1 else text for text, n in failed.items()]
    if result.held_out and result.single_model_label and not result.single_model_figures:
        lines.append(
            f"{result.single_model_label} in all modules, the best single model of the search, has "
            "no held-out score: the budget did not reach, or its calls failed"
        )
    return [
        *lines,
        *_failed(result),
        *_unread(result),
        *_unmet(result),
        *_votes_without_agreement(result),
    ]


def finalists_table(result: Result) -> Table:
    """Baseline, best single model and tuned pipeline."""
    finalists = [("baseline", result.baseline_figures, "the pipeline as given")]
    if (single := result.single_model_figures) is not None:
        finalists.append(("best single model", single, _single_model_text(result)))
    note = "" if changes(result) else "same as the baseline"
    finalists.append(("tuned", result.tuned_figures, note))
    rows = [
        (
            name,
            percent(figures.score.mean),
            percent_interval(figures.score),
            dollars(figures.usd_per_example),
            seconds(figures.latency_s),
            "; ".join(
                [note] * bool(note) + [f"{figures.unscored} unscored"] * bool(figures.unscored)
            ),
        )
        for name, figures, note in finalists
    ]
    return Table(("", "score", "95% interval", "$/example", "latency", ""), rows)


def verdict_lines(result: Result) -> Iterator[str]:
    """What may be claimed, and what may not."""
    changed = changes(result)
    if changed:
        yield _claim(result, result.gain, "the baseline", result.baseline_figures)
        if result.held_out and result.gain.low <= 0 <= result.gain.high:
            yield "More examples would narrow the interval."
    if result.unproven:
        more = len(result.unproven) - 1
        others = f"; and {more} more" if more else ""
        yield f"Looked better, not chosen: {result.unproven[0]}{others}."
    yield from _over_single(result)
    if changed and result.examples_:
        counts = Counter(example.change for example in result.examples_)
        examples = counted(len(result.examples_), "example")
        yield f"Of {examples}, {counts['gained']} gained and {counts['lost']} lost."
    given, tuned = result.baseline_figures, result.tuned_figures
    before, after = given.usd_per_example, tuned.usd_per_example
    if before > 0 and after != before:
        ratio = f" ({100 * (after / before - 1):+z.0f}%)"
        yield f"Cost per example: {dollars(before)} -> {dollars(after)}{ratio}."
    if result.objective.max_latency_p95_s is not None:
        tail = f"{seconds(given.latency_p95_s)} -> {seconds(tuned.latency_p95_s)}"
        yield f"Latency in 95% of the examples: at most {tail}."


def changes(result: Result) -> list[Change]:
    """What differs between the baseline and the tuned config."""
    changed = config_changes(result.began, result.config)
    if result.start_config is None:
        return changed
    given, start = result.patterns_[0].pattern, config_text(result.began)
    return [Change("pipeline", given, f"{result.pipeline.name} with {start}"), *changed]


def point_cells(point: OperatingPoint) -> tuple[str, ...]:
    """Score, its interval, dollars, mean and 95% latency, the estimate, and what scores are."""
    return (
        percent(point.score.mean),
        percent_interval(point.score),
        dollars(point.usd_per_example),
        seconds(point.latency_s),
        seconds(point.latency_p95_s),
        percent(point.estimate),
        "held out" if point.measured_on == "holdout" else "search estimate",
    )


def patterns_table(result: Result) -> Table:
    """The pipelines that were raced, by the best of their entrants on the search examples."""
    header = "", "estimate", "95% interval", "examples", "$/example", "latency", "calls", "dollars"
    rows = [
        (
            each.pattern,
            percent(each.score.mean) if each.score else "n/a",
            percent_interval(each.score) if each.score else "n/a",
            str(each.examples),
            dollars(each.usd_per_example),
            seconds(each.latency_s),
            f"{each.calls:,}",
            dollars(each.usd),
            f"{each.decision}: {shortened(each.entrant, 60)}",
        )
        for each in result.patterns_
    ]
    return Table((*header, ""), rows)


def spend_table(result: Result) -> Table:
    """What was spent by purpose, and in total."""
    spent = result.spent
    rows = [
        (name, dollars(part.usd), f"{part.calls:,}", f"{part.input_tokens + part.output_tokens:,}")
        for name, part in spent.by_purpose.items()
    ]
    total = ("total", dollars(spent.usd), f"{spent.calls:,}", f"{spent.tokens:,}")
    return Table(("", "dollars", "calls", "tokens"), [*rows, total])


def probes_lines(result: Result) -> list[str]:
    """One line that counts the runs outside of trials, if there were any."""
    runs = sum(probe.examples for probe in result.probes_ if probe.kind == "module")
    prompts = sum(probe.kind == "prompt" for probe in result.probes_)
    parts = [counted(runs, "run") + " of single modules"] if runs else []
    if prompts:
        parts.append(counted(prompts, "prompt") + " tried inside optimizers")
    return [f"beside the trials: {' and '.join(parts)}"] if parts else []


def paid_now(result: Result) -> str:
    """The run's duration, and how much of the spend was paid by this invocation."""
    spent = result.spent
    took = f"in {seconds(spent.seconds)}"
    if (spent.paid_now_calls, spent.paid_now_usd) == (spent.calls, spent.usd):
        return took
    took += f"; paid now: {dollars(spent.paid_now_usd)} for {counted(spent.paid_now_calls, 'call')}"
    if spent.paid_now_calls > spent.calls:
        return f"{took}, with a first call to each model and attempts that failed"
    return f"{took}, the rest was in the cache"


def diagnoser_title(result: Result) -> str:
    """The diagnoser's model, and how it was chosen."""
    by = f": {result.diagnoser_model}" if result.diagnoser_model else ""
    by += ", the best single model on the first few examples" if result.diagnoser_chosen else ""
    return f"Diagnoser{by}"


def diagnoser_lines(result: Result) -> list[str]:
    """How well the diagnoser's ratings agreed with measured scores, by module."""
    return [
        f"{entry.module}: {'; '.join(_diagnoses(entry))}"
        for entry in result.diagnoser
        if entry.judged or entry.asked
    ]


def _diagnoses(entry: DiagnoserAgreement) -> Iterator[str]:
    if entry.judged:
        unasked = " without a question (outputs alike or failed)"
        none_read = entry.asked and entry.unread + entry.unanswered == entry.asked
        yield f"rated {counted(entry.judged, 'example')}{unasked if none_read else ''}"
        yield (
            "nothing to compare its ratings with"
            if entry.agreement is None
            else f"agreed with measured scores in {percent(entry.agreement)} "
            f"of {counted(entry.compared, 'comparison')}"
        )
    if entry.unanswered:
        questions = counted(entry.asked, "question")
        yield f"got no answer to {entry.unanswered} of {questions}, after outages"
    if entry.unread:
        yield f"could not be read in {entry.unread} of {counted(entry.asked, 'question')}"
        if entry.truncated:
            yield (
                f"{entry.truncated} of the replies were cut off: raise its max_tokens, or name "
                "another diagnoser"
            )
    elif not entry.judged and not entry.unanswered:
        yield f"asked {counted(entry.asked, 'question')} for its prompt"


def judge_lines(result: Result) -> list[str]:
    """The judge's agreement with people, and which figures are corrected for its errors."""
    judge = result.judge
    if judge is None:
        return []
    if judge.calibration is None:
        how = f"{result.metric}(labels=...) measures it"
        lines = [f"{judge.model}: agreement with people unknown; {how}"]
    else:
        line = judge.calibration.fitted
        lines = [
            f"{judge.model}: {agreement_text(judge)}; "
            f"it gives {line.offset:z.2f} + {line.slope:.2f} x people's score",
            "scores and gains are corrected for that; estimates and trials are not. A corrected "
            "score ends at 0 and 100%, so that two may lie less apart than the gain says",
        ]
    tried = (trial.config.allocation.values() for trial in result.trials_)
    if any(judge.model in labels for allocation in tried for labels in allocation):
        lines.append("it is among the models that answer, and judges favour answers of their own")
    return lines


def _single_model_text(result: Result) -> str:
    """The best single model, which answers as often as the given pipeline asks a model."""
    width = ", as wide as given" if result.baseline_config.is_wide else ""
    return f"{result.single_model_label} in all modules{width}"


def _over_single(result: Result) -> Iterator[str]:
    figures, rival = result.single_model_figures, _single_model_text(result)
    if figures is None or result.gain_over_single is None:
        return
    if result.config == result.began.with_single_model(result.single_model_label or ""):
        if changes(result):
            yield f"What was found is the best single model: {rival}."
    else:
        yield _claim(result, result.gain_over_single, rival, figures)


def _claim(result: Result, gain: Interval, rival: str, figures: HeldOut) -> str:
    """A gain is claimed only if it was held out and its interval excludes 0."""
    if result.held_out and (result.tuned_figures.disqualified or figures.disqualified):
        return f"No gain over {rival} is claimed: too many held-out examples met outages."
    if not result.held_out:
        return f"Estimated gain over {rival}: {points(gain)}, on the examples that chose it."
    if gain.low > 0:
        return f"Gain over {rival}: {points(gain)}."
    if gain.high < 0:
        return f"WORSE than {rival}: {points(gain)}."
    if result.objective.limited:  # then to be as good may be all that was wanted
        return f"No clear difference from {rival}: {points(gain)}; the interval includes 0."
    return f"Not shown to be better than {rival}: {points(gain)}; the interval includes 0."


def _failed(result: Result) -> Iterator[str]:
    """Failed runs, where there are more than a few."""
    for name, figures in (("baseline", result.baseline_figures), ("tuned", result.tuned_figures)):
        count, runs = sum(figures.failures.values()), figures.examples + figures.unscored
        if count > _MOST_FAILED * runs and (name == "tuned" or changes(result)):
            kinds = ", ".join(f"{kind} x{times}" for kind, times in figures.failures.items())
            yield f"{count} of {runs} runs of the {name} pipeline failed ({kinds})"


def _unread(result: Result) -> Iterator[str]:
    """Models whose replies often could not be read, and what may help."""
    rows = [("tuned", result.config, result.tuned_figures)]
    if changes(result):
        rows.insert(0, ("baseline", result.baseline_config, result.baseline_figures))
    for name, config, figures in rows:
        for label, (unread, replies) in figures.unread.items():
            if unread > _MOST_FAILED * replies:
                other = "xml" if "json" in _formats(config, label) else "json"
                tried = any(other in _formats(trial.config, label) for trial in result.trials_)
                yield (
                    f"{label}: {unread} of {replies} replies in the {name} pipeline could not be "
                    + (
                        f"read; the search tried {other}, which did not earn its place"
                        if tried
                        else f'read; try SearchSpace(reply_format=("chat", "{other}"))'
                    )
                )


def _formats(config: PipelineConfig, label: str) -> set[str]:
    """The formats in which the model of this label replies."""
    walked = (m for top, module in config.modules.items() for _, m in module.walk(top))
    return {module.reply_format for module in walked if label in module.labels}


def _unmet(result: Result) -> Iterator[str]:
    tuned = result.tuned_figures
    if result.objective.meets(tuned.costs):
        return
    figures = f"{dollars(tuned.usd_per_example)} and {seconds(tuned.latency_s)} per example"
    if result.objective.max_latency_p95_s is not None:
        figures += f", at most {seconds(tuned.latency_p95_s)} in 95% of {tuned.examples}"
    searched = [trial for trial in result.trials_ if trial.config == result.config]
    met = searched and result.objective.meets(searched[-1].costs(tuned.score.mean))
    if result.held_out and met:
        yield (
            f"the objective ({result.objective}) was met on the search examples, but not on those "
            f"held out: {figures}"
        )
    else:
        yield f"no config met the objective ({result.objective}): this is the closest, at {figures}"


def _votes_without_agreement(result: Result) -> Iterator[str]:
    """Votes in which hardly any two members gave the same answer."""
    alone: dict[str, list[bool]] = {}
    for trial in last_trials(result.trials_):
        for module, share in trial.agreement.items():
            config = trial.config.modules[module]
            votes = config.aggregation is not None and config.aggregation.name in _VOTES
            if votes and trial.examples >= _FEWEST:
                alone.setdefault(module, []).append(share * config.width <= 1 + _HARDLY)
    for module, disagreed in alone.items():
        count = sum(disagreed)
        if count and 2 * count >= len(disagreed):  # else answers can be compared
            yield (
                f"members of {module!r} hardly ever gave the same answer in "
                f"{counted(count, 'vote')}: answers in free text need a judge or a verifier, "
                "numbers a median"
            )
