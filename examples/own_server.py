"""Tune over models behind your own OpenAI-compatible server (vLLM, Ollama, llama.cpp, a proxy).

    python examples/own_server.py
    python examples/own_server.py --url http://localhost:8000/v1 --models llama-8b,qwen-32b

Without an address it starts a server of its own on 127.0.0.1, behind which simulated models speak
over real HTTP. The prices are what you say they are: no list knows those of your own server.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizer import Budget, Model, locate_solve, optimize
from pipelines.providers.simulated import find_model, simulate

if TYPE_CHECKING:
    from benchmarks.loopback import LoopbackServer

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", help="the server's address, such as http://localhost:8000/v1")
    parser.add_argument("--models", default="hazel,alder,birch", help="names that it serves")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = options.url or stack.enter_context(fake_server()).url
        models = [
            Model(
                f"openai/{name}",
                label=name,
                api_base=url,
                # api_key_env="MY_SERVER_KEY",  the variable's name, if the server wants a key
                input_usd_per_million=0.10,
                output_usd_per_million=0.40,
            )
            for name in options.models.split(",")
        ]
        result = optimize(
            locate_solve(),
            HERE / "locate_solve.jsonl",
            models,
            stages="allocation",  # models alone; without this, widths and aggregators too
            budget=Budget(usd=1, calls=5000),
        )
    print(result)


def fake_server() -> LoopbackServer:
    """It stands in for your server; it is in this repository, and not in the package."""
    sys.path.append(str(HERE.parent))
    from benchmarks.loopback import LoopbackServer

    return LoopbackServer(reply=play)


def play(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    """What the simulated model of that name says; a server of yours takes its place."""
    known = {name: params[name] for name in ("temperature", "seed") if name in params}
    return simulate(find_model(params["model"]), messages, **known).text


if __name__ == "__main__":
    main()
