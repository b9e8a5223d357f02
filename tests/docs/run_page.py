"""Run the Python blocks of one page, in its order and in one namespace.

    python tests/docs/run_page.py docs/tracking.md

Hosted models are played by simulated ones (PLAYED_BY), and the address of an own server (ADDRESS)
by the loopback server, whose models speak as simulated ones too: no keys, no network but 127.0.0.1.
It works in the current folder, and writes there what the page would.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.loopback import LoopbackServer
from pipelines.providers.simulated import MODELS, find_model, simulate, simulated_dataset
from tests.docs.pages import blocks

PLAYED_BY = {
    "openai/gpt-4o-mini": "sim/hazel",
    "anthropic/claude-haiku-4-5": "sim/alder",
    "gemini/gemini-2.5-flash": "sim/birch",
}
ADDRESS = "http://localhost:8000/v1"


def main(page: Path) -> None:
    """Run all blocks of the page."""
    write_validation(Path("validation.jsonl"))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with ExitStack() as stack:
        server = stack.enter_context(LoopbackServer(reply=speak))
        for block in blocks(page, "python"):
            code = block.text.replace(ADDRESS, server.url)
            for hosted, simulated in PLAYED_BY.items():
                code = code.replace(hosted, simulated)
            # the blank lines put tracebacks, and whoever looks for a function's source, right
            exec(compile("\n" * (block.line - 1) + code, str(page), "exec"), namespace)


def write_validation(path: Path) -> None:
    """The dataset that pages speak of: table, question, answer."""
    rows = simulated_dataset("locate_solve", 16, seed=4)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def speak(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    """What the simulated model of that name says; `hazel`, if there is none of that name."""
    known = {model.name for model in MODELS}
    name = params["model"] if params["model"] in known else "hazel"
    return simulate(find_model(name), messages, seed=params.get("seed") or 0).text


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
