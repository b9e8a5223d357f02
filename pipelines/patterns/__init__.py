"""Ready-made pipelines that several papers optimize, each a function that makes one."""

from __future__ import annotations

from pipelines.patterns.locate_solve import locate_solve
from pipelines.patterns.majority_vote import majority_vote
from pipelines.patterns.medprompt import medprompt
from pipelines.patterns.multi_agent_debate import multi_agent_debate
from pipelines.patterns.rag import rag
from pipelines.patterns.self_refine import self_refine

__all__ = [
    "locate_solve",
    "majority_vote",
    "medprompt",
    "multi_agent_debate",
    "rag",
    "self_refine",
]
