"""The calls and dollars of one run of the pipeline, with given models or a mixture of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, median

from optimizer.estimates.prompt_sizes import PromptSize, images_of, prompt_sizes, tokens_of
from optimizer.estimates.span import NOTHING, Span, exactly, total
from optimizer.setup.plan import Plan
from optimizer.setup.space_checks import named_models
from pipelines.aggregators.calls import most_calls
from pipelines.gateway.input_bound import image_tokens, typical_image_tokens
from pipelines.gateway.model import Model
from pipelines.providers import price_of

TIMES_ASKED = Span(1.0, 1.5, 4.0)
"""How often a module is asked where only running it tells, as in loops and branches."""
ASKED_AGAIN = Span(1.0, 1.0, 1.1)
"""Calls for one reply: what can't be read is asked for again."""
DIAGNOSIS = PromptSize(600.0, Span(20.0, 40.0, 200.0))
"""Tokens of one call of the diagnoser: a module's inputs, its distinct outputs, and verdicts."""
WRITING_CALL = PromptSize(2000.0, Span(100.0, 400.0, 1500.0))
"""Tokens of one call that writes a prompt from examples, or from what went wrong."""
VERDICT = PromptSize(250.0, Span(10.0, 40.0, 200.0))
"""Tokens of one call of a judge, beside the example's own."""


@dataclass(frozen=True)
class CallPrices:
    """What runs and single calls of one plan cost.

    Raises:
        ModelError: from its properties, where a model has no known price.
    """

    plan: Plan

    @cached_property
    def sizes(self) -> Mapping[str, PromptSize]:
        """By module, the tokens of a call."""
        return prompt_sizes(self.plan)

    @property
    def calls(self) -> Span:
        """Calls of one run of the pipeline as given, those of a judge included."""
        asked = total(map(self._times, self.plan.baseline.modules))
        return asked * ASKED_AGAIN + exactly(float(self.plan.metric.calls))

    @property
    def given(self) -> Span:
        """Dollars of one run of the pipeline as given."""
        return self._run({module: self._labels(module) for module in self.sizes})

    @property
    def input_tokens(self) -> float:
        """Typical input tokens of a call of the pipeline as given."""
        return fmean(
            input_tokens(self.plan.models[label], size).typical
            for module, size in self.sizes.items()
            for label in self._labels(module)
        )

    def single(self, label: str) -> Span:
        """Dollars of one run with this model in all modules."""
        return self._run({module: [label] for module in self.sizes})

    @property
    def explored(self) -> Span:
        """Dollars of one run of a search that tries every model: with the cheapest, with the mean
        of all, and with the mean of the more expensive half."""
        return self._chosen(fmean)

    @property
    def chosen(self) -> Span:
        """Dollars of one run with models yet to be chosen: as `explored`, with the median."""
        return self._chosen(median)

    def _chosen(self, middle: Callable[[Iterable[float]], float]) -> Span:
        spans = []
        for module, labels in self.plan.space.models.items():
            costs = sorted(self._call(module, label) for label in labels)
            typical = middle(cost.typical for cost in costs)
            high = fmean(cost.high for cost in costs[len(costs) // 2 :])
            spans.append(self._times(module) * Span(costs[0].low, typical, high))
        return total([*spans, self.judged])

    @property
    def diagnosis(self) -> Span:
        """Dollars of one call of the diagnoser."""
        return NOTHING if self.plan.diagnoser is None else self._of_the_ablest(DIAGNOSIS)

    @property
    def writing(self) -> Span:
        """Dollars of one call of the model that writes prompts, the diagnoser's."""
        return self._of_the_ablest(WRITING_CALL)

    def _of_the_ablest(self, size: PromptSize) -> Span:
        """Dollars of a call to the diagnoser; "auto" may turn out to be any model."""
        if isinstance(self.plan.diagnoser, Model):
            return _usd(self.plan.diagnoser, size)
        labels = dict.fromkeys(x for each in self.plan.space.models.values() for x in each)
        costs = sorted(_usd(self.plan.models[label], size) for label in labels)
        return Span(costs[0].low, fmean(cost.typical for cost in costs), costs[-1].high)

    @property
    def worst_call(self) -> float:
        """Dollars that the longest reply of the most expensive model of the search may cost."""
        return max(map(_longest_reply, self._models))

    @property
    def worst_given_call(self) -> float:
        """The same for the pipeline as given."""
        return max(_longest_reply(self.plan.models[x]) for x in self.plan.baseline.labels)

    @property
    def are_free(self) -> bool:
        """Whether no model of the search, judge and diagnoser included, has a price above 0."""
        return not any(any(price_of(model)) for model in self._models)

    @property
    def _models(self) -> list[Model]:
        """All models that the search may ask."""
        space, judging = self.plan.space, self.plan.metric.judging
        labels = {*named_models(space), *self.plan.baseline.labels}.union(*space.models.values())
        consulted = (judging and judging.model, self.plan.diagnoser)
        others = [model for model in consulted if isinstance(model, Model)]
        return [*(self.plan.models[label] for label in sorted(labels)), *others]

    def _run(self, labels: Mapping[str, Sequence[str]]) -> Span:
        spans = []
        for module, each in labels.items():
            mean = total(self._call(module, label) for label in each) * (1 / len(each))
            spans.append(self._times(module) * mean)
        return total([*spans, self.judged])

    def _times(self, module: str) -> Span:
        """How often a run asks the module."""
        own = exactly(float(most_calls(self.plan.baseline.modules[module])))
        return own if self.plan.pipeline.is_fixed else own * TIMES_ASKED

    def _labels(self, module: str) -> Sequence[str]:
        return self.plan.baseline.modules[module].labels

    def _call(self, module: str, label: str) -> Span:
        return _usd(self.plan.models[label], self.sizes[module])

    @property
    def judged(self) -> Span:
        """Dollars of judging one run."""
        judging, metric = self.plan.metric.judging, self.plan.metric
        if judging is None:
            return NOTHING
        row = [value for _, value in self.plan.search[0].items()]
        tokens, images = sum(map(tokens_of, row)), sum(map(images_of, row))
        size = PromptSize(VERDICT.input_tokens + tokens, VERDICT.output_tokens, images)
        return _usd(judging.model, size) * metric.calls


def _longest_reply(model: Model) -> float:
    return price_of(model).output_usd * model.max_tokens


def _usd(model: Model, size: PromptSize) -> Span:
    price = price_of(model)
    return input_tokens(model, size) * price.input_usd + size.output_tokens * price.output_usd


def input_tokens(model: Model, size: PromptSize) -> Span:
    """The tokens of text and images, which have 512 by 512 pixels, 1,024 by 1,024, or as many as
    the model takes."""
    typical = typical_image_tokens(model.name)
    image = Span(typical / 4, float(typical), float(image_tokens(model.name)))
    return exactly(size.input_tokens) + image * size.images
