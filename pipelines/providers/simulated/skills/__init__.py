"""The kinds of tasks that simulated models can do, each in a file of its own."""

from __future__ import annotations

from pipelines.providers.simulated.request import ParsedRequest
from pipelines.providers.simulated.skills.arithmetic import Arithmetic
from pipelines.providers.simulated.skills.knowledge import Knowledge
from pipelines.providers.simulated.skills.locate import Locate
from pipelines.providers.simulated.skills.operations import ApplyOperation
from pipelines.providers.simulated.solution import Skill, Solution

SKILLS: tuple[Skill, ...] = (Locate(), Knowledge(), Arithmetic(), ApplyOperation())
"""In the order in which they are tried: a table of tasks holds expressions, too."""


def follow(first: Solution) -> Solution | None:
    """Return the item of doing what `first` finds, both steps in one call; None if that is no task.

    Tempting answers are those of the tasks that `first` could find by mistake.
    """
    last = solve_text(first.right)
    if last is None:
        return None
    others = (other.right for text in first.wrong if (other := solve_text(text)))
    wrong = (*others, *last.wrong)
    item = repr((first.item, last.item))
    return Solution(last.skill, item, last.right, wrong, via=first, used=first.used)


def solve_text(text: str) -> Solution | None:
    """Return what a skill finds in one text alone."""
    return find_solution(ParsedRequest("", {"task": text}, ()))


def find_solution(request: ParsedRequest) -> Solution | None:
    """Return what the first skill that recognises the request finds in it."""
    for skill in SKILLS:
        solution = skill.solve(request)
        if solution is not None:
            return solution
    return None
