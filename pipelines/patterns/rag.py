"""Retrieve passages, then read them."""

from __future__ import annotations

from pipelines.modules.functions import Function
from pipelines.modules.module import Module
from pipelines.patterns.question import parse_question
from pipelines.spec.pipeline import Pipeline


def rag(
    retriever: Function | str,
    signature: str = "question -> answer",
    *,
    passages: str = "passages",
    k: int = 5,
) -> Pipeline:
    """Two modules: the function `retrieve` with the parameter `k`, and `read` (arXiv 2005.11401).

    `SearchSpace(params={"retrieve": {"k": (1, 3, 10)}})` searches k, together with the reader.

    Args:
        retriever: called with the inputs by name and `k`; returns the passages as text.
        signature: of the whole; one output, the answer.
        passages: name of the field between the two.
        k: how many passages the search starts with.
    """
    asked = parse_question(signature)
    read = f"{asked.reading(passages)} -> {asked.answer}{asked.kind}"
    retrieve = f"{asked.inputs} -> {passages}"
    return Pipeline(
        "rag",
        [
            Module("retrieve", retrieve, function=retriever, params={"k": k}),
            Module("read", read),
        ],
    )
