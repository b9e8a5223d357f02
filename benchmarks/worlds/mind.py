"""A mind that worked examples, a reasoning effort and the order of options sway."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from math import sqrt

from benchmarks.worlds.knowledge import OptionSolution
from pipelines.providers.simulated import mind
from pipelines.providers.simulated.draws import normal
from pipelines.providers.simulated.mind import Belief
from pipelines.providers.simulated.request import Answer, ParsedRequest
from pipelines.providers.simulated.simulation import sentences, shows_thoughts
from pipelines.providers.simulated.tasks import Solution

SENTENCE_TOKENS = 11
"""Tokens of an average sentence of the reasoning."""
ORDER_SHARE = 0.25
"""Share of what is left of the latent variance that another order of the options redraws."""
POSITION_BIAS = 2.0
"""How much more the first option tempts than the last one, where the model slips."""


@dataclass(frozen=True)
class Mind(mind.Mind):
    """One model reading one prompt, about to draw one sample."""

    more_ability: float = 0.0
    """What worked examples and an effort add to the ability."""
    thinks_unseen: bool = False
    """Whether thoughts that the reply does not show are counted."""
    order: str = ""
    """The options in the order shown, where it is before options."""

    def believe(self, solution: Solution) -> Belief:
        """Return the right value, or the wrong one that this model falls for."""
        if isinstance(solution, OptionSolution):
            swayed = replace(self, order=repr(tuple(solution.options.values())))
            return super(Mind, swayed).believe(solution)
        return super().believe(solution)

    def shift(self, skill: str) -> float:
        """Return what the prompt, the temperature and an effort add to the ability."""
        return super().shift(skill) + self.more_ability

    def latent(self, *key: object) -> float:
        """Return a draw that also depends on the order of the options."""
        if not self.order:
            return super().latent(*key)
        settled = sqrt(1.0 - ORDER_SHARE) * replace(self, temperature=0.0, order="").latent(*key)
        settled += sqrt(ORDER_SHARE) * normal("latent", self.model.name, key, "order", self.order)
        share = self.temperature**2 / (1.0 + self.temperature**2)
        if share == 0.0:
            return settled
        drawn = normal("latent", self.model.name, key, self.variant + self.order, self.sample)
        return sqrt(1.0 - share) * settled + sqrt(share) * drawn

    def slip(self, solution: Solution) -> str:
        """Choose a wrong answer by Zipf's law; of options, the earlier ones tempt more."""
        if not isinstance(solution, OptionSolution):
            return super().slip(solution)
        letters, exponent = list(solution.options), 2.0 / (1.0 + self.temperature)
        pulls = []
        for rank, text in enumerate(solution.wrong_by_popularity):
            place = letters.index(text) / (len(letters) - 1) if text in letters[1:] else 0.0
            pulls.append((rank + 1) ** -exponent * POSITION_BIAS**-place)
        heights = list(accumulate(pulls))
        target = self.luck("slip", solution.skill, solution.item) * heights[-1]
        places = (place for place, height in enumerate(heights) if target <= height)
        return solution.wrong_by_popularity[next(places)]

    def unseen_tokens(self, request: ParsedRequest, answer: Answer) -> int:
        """Return the tokens of the thoughts that the reply does not show; most models have none."""
        shown = any(output.is_reasoning for output in request.outputs)
        if request.form == "text":
            shown = shows_thoughts(answer, self)
        if shown or not self.thinks_unseen:
            return 0
        return round(SENTENCE_TOKENS * sentences(answer, self) * self.length)
