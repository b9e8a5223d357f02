"""A race of prompts as an optimizer for `mlflow.genai.optimize_prompts`."""

from __future__ import annotations

import json
import logging
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

import dspy
import mlflow
import numpy as np
from mlflow.genai.optimize.optimizers import BasePromptOptimizer
from mlflow.genai.optimize.types import EvaluationResultRecord, PromptOptimizerOutput

from optimizer.errors import OptimizationError
from optimizer.search.strategies import STRATEGIES, Arena
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted
from pipelines.gateway.call_record import current_recorder
from pipelines.gateway.gateway import Gateway, Session, default_gateway
from pipelines.gateway.model import Model
from pipelines.gateway.secrets import plain_json, redactor
from pipelines.programs.adapter import chat_adapter
from pipelines.programs.engine import GatewayLM
from pipelines.programs.failures import failure_of
from search_spaces.config import canonical_json
from search_spaces.refusals import check_whole

logger = logging.getLogger(__name__)

SHOWN = 5
"""How many examples the writing model sees: those with the lowest scores."""
LONGEST = 2000
"""How many characters of an example it sees."""
_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_TASK = """\
Improve a prompt template by what went wrong with it. Keep every {{variable}} of the template, and \
add none; a template that is JSON stays JSON of the same form. Return the whole template."""

Evaluate = Callable[[dict[str, str], list[dict[str, Any]]], list[EvaluationResultRecord]]


class PromptRace(BasePromptOptimizer):
    """A model writes versions of each prompt, and a race finds the best combination of them.

    Versions are compared on as few examples as a statistical model of the scores asks for
    (`docs/allocation.md`); what was given stays unless a combination that ran on all examples is
    better with a probability of at least 80%. Scores must lie in [0, 1].

    The budget bounds what the writing model is asked. The calls of `predict_fn` and of the scorers
    are the caller's own: no dollars are counted for them, and `evaluations` bounds on how many
    examples they run. `initial_eval_score` and `final_eval_score` are means over the training
    examples that chose the prompts, and so favour the winner: measure it on others.

    Args:
        model: writes the versions.
        budget: caps on its calls.
        versions: how many it writes of each prompt.
        evaluations: most examples to run, all candidates together; at least one pass over the
            training data. None stops where more would gain little.
        seed: of the order of examples and of the search.
        gateway: how its calls are made; the default one if None.
    """

    def __init__(
        self,
        model: str | Model,
        *,
        budget: Budget,
        versions: int = 6,
        evaluations: int | None = None,
        seed: int = 0,
        gateway: Gateway | None = None,
    ) -> None:
        check_whole("versions", versions, 1)
        if evaluations is not None:
            check_whole("evaluations", evaluations, 1)
        self.model = model if isinstance(model, Model) else Model(model)
        self.budget, self.versions, self.evaluations = budget, versions, evaluations
        self.seed, self.gateway = seed, gateway

    def optimize(
        self,
        eval_fn: Evaluate | None,
        train_data: list[dict[str, Any]],
        target_prompts: dict[str, str],
        enable_tracking: bool = True,
    ) -> PromptOptimizerOutput:
        """See `BasePromptOptimizer.optimize`.

        Raises:
            OptimizationError: there is nothing to compare by, or a score is not in [0, 1].
            ValueError: `evaluations` is less than the examples.
            ModelError: the model is unknown, or has no key or price.
        """
        from pipelines.providers import check_models

        if eval_fn is None or not train_data:
            raise OptimizationError("PromptRace compares scores: give train_data and scorers")
        check_whole("evaluations", self.evaluations or len(train_data), len(train_data))
        check_models([self.model])
        session = (self.gateway or default_gateway()).session(uuid.uuid4().hex, self.budget)
        first = _scored(eval_fn(target_prompts, train_data))
        choices = {
            name: list(dict.fromkeys([text, *self._written(name, text, first, session)]))
            for name, text in target_prompts.items()
        }
        order = np.random.default_rng(self.seed).permutation(len(train_data))
        arena = Arena(
            choices=[len(versions) for versions in choices.values()],
            calls_of=lambda levels: [levels],
            examples=len(train_data),
            left=math.inf if self.evaluations is None else self.evaluations - len(train_data),
            start=(0,) * len(choices),
            seed=self.seed,
        )
        records: dict[int, list[EvaluationResultRecord]] = {}

        def prompts_of(place: int) -> dict[str, str]:
            pairs = zip(choices.items(), arena.levels(place), strict=True)
            return {name: versions[level] for (name, versions), level in pairs}

        def note(place: int, examples: Sequence[int], ran: list[EvaluationResultRecord]) -> None:
            records.setdefault(place, []).extend(ran)
            for example, record in zip(examples, ran, strict=True):
                arena.field.note((place, example), record.score)

        start = arena.place((0,) * len(choices))
        note(start, range(len(order)), [first[index] for index in order])
        strategy = STRATEGIES["default"]
        for batch in strategy.runs(arena):
            made = list(batch)[: int(min(arena.left, len(batch)))]
            for place, runs in groupby(sorted(made), key=lambda run: run[0]):
                examples = [example for _, example in runs]
                rows = [train_data[order[example]] for example in examples]
                note(place, examples, _scored(eval_fn(prompts_of(place), rows)))
            arena.left -= len(made)
            if enable_tracking:
                best = float(arena.means()[strategy.pick(arena)])
                mlflow.log_metric("eval_score", best, step=int(arena.field.ran.sum()))
            if len(made) < len(batch):
                break
        pick = strategy.pick(arena)
        if enable_tracking:
            tried = [{"prompts": prompts_of(n), **_means(ran)} for n, ran in records.items()]
            mlflow.log_dict(plain_json(tried, redactor()), "prompt_candidates.json")
        before, after = _means(records[start]), _means(records[pick])
        return PromptOptimizerOutput(
            prompts_of(pick), before["score"], after["score"], before["scorers"], after["scorers"]
        )

    def _written(
        self, name: str, text: str, ran: Sequence[EvaluationResultRecord], session: Session
    ) -> list[str]:
        """Versions of one prompt that keep its variables; fewer where the budget ends."""
        predict = dspy.Predict(dspy.Signature("template, examples -> improved_template", _TASK))
        worst = sorted(ran, key=lambda record: float(record.score or 0))[:SHOWN]
        examples, versions = "\n\n".join(map(_shown, worst)), []
        for sample in range(self.versions):
            lm = GatewayLM(self.model, session, temperature=1.0, purpose="prompts", sample=sample)
            try:
                with dspy.context(adapter=chat_adapter(), disable_history=True, trace=None):
                    reply = predict(lm=lm, template=text, examples=examples)
            except BudgetExhausted as ended:
                logger.warning("%d of %d versions of %r: %s", sample, self.versions, name, ended)
                break
            except Exception as error:
                failure = failure_of(error, current_recorder().calls, "prompts")
                if failure is None:
                    raise
                logger.warning("a version of %r failed (%s): %s", name, failure.kind, error)
                continue
            if _fits(str(reply.improved_template), text):
                versions.append(str(reply.improved_template))
        return versions


def _scored(ran: list[EvaluationResultRecord]) -> list[EvaluationResultRecord]:
    for record in ran:
        if record.score is None or not 0 <= record.score <= 1:
            raise OptimizationError(
                f"PromptRace needs scores in [0, 1], but got {record.score!r} for the inputs "
                f"{record.inputs!r}; aggregation=... can bring it there"
            )
    return ran


def _shown(record: EvaluationResultRecord) -> str:
    shown: Mapping[str, Any] = {
        "inputs": record.inputs,
        "output": record.outputs,
        "expected": record.expectations,
        "score": record.score,
        "why": record.rationales,
    }
    return canonical_json(shown)[:LONGEST]


def _fits(version: str, text: str) -> bool:
    """Whether it has the same variables, and is a chat if the text is one."""
    if {*_VARIABLE.findall(version)} != {*_VARIABLE.findall(text)}:
        return False
    return not _is_chat(text) or _is_chat(version)


def _is_chat(text: str) -> bool:
    try:
        messages = json.loads(text)
    except ValueError:
        return False
    return isinstance(messages, list) and all(
        isinstance(each, dict) and {"role", "content"} <= each.keys() for each in messages
    )


def _means(ran: Sequence[EvaluationResultRecord]) -> dict[str, Any]:
    names = {name for record in ran for name in record.individual_scores}
    scorers = {
        name: fmean(record.individual_scores[name] for record in ran) for name in sorted(names)
    }
    score = fmean(float(record.score or 0) for record in ran)
    return {"score": score, "scorers": scorers, "examples": len(ran)}
