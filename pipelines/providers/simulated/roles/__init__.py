"""The parts that simulated models can play, each in a file of its own."""

from __future__ import annotations

from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import ParsedRequest
from pipelines.providers.simulated.roles.arbitrate import Arbitrate
from pipelines.providers.simulated.roles.criticise import Criticise
from pipelines.providers.simulated.roles.debate import Debate
from pipelines.providers.simulated.roles.diagnose import Diagnose
from pipelines.providers.simulated.roles.improvise import Improvise
from pipelines.providers.simulated.roles.judge import Judge
from pipelines.providers.simulated.roles.refine import Refine
from pipelines.providers.simulated.roles.role import Answer, Role
from pipelines.providers.simulated.roles.solve import Solve
from pipelines.providers.simulated.roles.verify import Verify
from pipelines.providers.simulated.roles.write_instructions import WriteInstructions

ROLES: tuple[Role, ...] = (
    WriteInstructions(),
    Diagnose(),
    Arbitrate(),
    Judge(),
    Criticise(),
    Verify(),
    Refine(),
    Debate(),
    Solve(),
    Improvise(),
)
"""In the order in which they are tried: the last two take whatever the others leave."""


def play(request: ParsedRequest, mind: Mind) -> Answer:
    """Return what the first role that recognises the request answers."""
    answers = (role.play(request, mind) for role in ROLES)
    return next(answer for answer in answers if answer is not None)
