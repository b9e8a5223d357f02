"""Tune agents as they stand: tools by OpenAI's SDK or in a LangGraph graph, images by DSPy.

    python examples/agents_with_tools.py openai
    python examples/agents_with_tools.py langgraph
    python examples/agents_with_tools.py images --models openai/gpt-4o-mini,gemini/gemini-2.5-flash

Without --models it starts a server on 127.0.0.1 with two made-up models, `small` and `large`. The
last line needs the providers' keys in the environment, and spends at most a dollar. Beside this
library, the second takes `pip install langgraph`.
"""

from __future__ import annotations

import argparse
import base64
import importlib
import json
import struct
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import dspy

from optimizer import Budget, Model, from_callable, optimize

if TYPE_CHECKING:
    from benchmarks.loopback import LoopbackServer
    from pipelines.adapters.callables import ModelHandle

MOST_STEPS = 4
STOCK = {"pear": 3, "melon": 7, "fig": 2, "plum": 4, "lemon": 5}
QUESTIONS = [
    {"question": f"What do {count} of the item {item!r} cost?", "answer": str(count * price)}
    for item, price in STOCK.items()
    for count in range(1, 9)
]
COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (20, 40, 210)}
SYSTEM = "Look up the item's price, multiply, and end with 'the answer is' and the number."
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "price_of",
            "description": "The price of one piece of an item.",
            "parameters": {
                "type": "object",
                "properties": {"item": {"type": "string"}},
                "required": ["item"],
            },
        },
    }
]


def result_of(call: Any) -> dict[str, Any]:
    """The message with what a tool says. What a model wrote may be no JSON: it is told so."""
    try:
        item = json.loads(call.function.arguments)["item"]
        said = str(STOCK.get(item, f"there is no {item!r}"))
    except (ValueError, KeyError, TypeError) as error:
        said = f"arguments that can't be used: {error!r}"
    return {"role": "tool", "tool_call_id": call.id, "content": said}


def conclusion(reply: str | None) -> str:
    """What a reply ends in."""
    return (reply or "").rpartition("answer is ")[2].strip().removesuffix(".")


def asking(handle: ModelHandle) -> Callable[[Sequence[Any]], Any]:
    """A function that asks the model, with the tools, and returns its message."""
    from openai import OpenAI

    client: Any = OpenAI(base_url=handle.base_url, api_key=handle.api_key, max_retries=0)

    def ask(messages: Sequence[Any]) -> Any:
        asked = {"model": handle, "messages": messages, "tools": TOOLS}
        return client.chat.completions.create(**asked).choices[0].message

    return ask


def opened(question: str) -> list[Any]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]


def build(models: Mapping[str, ModelHandle]) -> Callable[[str], str]:
    """An agent by OpenAI's SDK alone: it asks until no tool is called."""
    ask = asking(models["shop"])

    def agent(question: str) -> str:
        messages = opened(question)
        for _ in range(MOST_STEPS):
            message = ask(messages)
            if not message.tool_calls:
                return conclusion(message.content)
            messages += [message, *map(result_of, message.tool_calls)]
        return "no answer"

    return agent


class State(TypedDict):
    messages: list[Any]


def build_graph(models: Mapping[str, ModelHandle]) -> Callable[[str], str]:
    """The same agent as a graph of LangGraph, with a node that asks and one that has the tools."""
    from langgraph.graph import END, START, StateGraph

    ask = asking(models["shop"])

    def think(state: State) -> State:
        return {"messages": [*state["messages"], ask(state["messages"])]}

    def use_tools(state: State) -> State:
        said = map(result_of, state["messages"][-1].tool_calls)
        return {"messages": [*state["messages"], *said]}

    def next_node(state: State) -> str:
        return "use_tools" if state["messages"][-1].tool_calls else END

    graph = StateGraph(State)
    graph.add_node("think", think)
    graph.add_node("use_tools", use_tools)
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", next_node, ["use_tools", END])
    graph.add_edge("use_tools", "think")
    compiled = graph.compile()

    def agent(question: str) -> str:
        given: State = {"messages": opened(question)}
        final = compiled.invoke(given, {"recursion_limit": 2 * MOST_STEPS})
        return conclusion(final["messages"][-1].content)

    return agent


class NameColour(dspy.Module):
    """A DSPy program that looks at an image."""

    def __init__(self) -> None:
        super().__init__()
        self.look = dspy.Predict("image: dspy.Image, question -> answer")

    def forward(self, image: dspy.Image, question: str) -> Any:
        return self.look(image=image, question=question)


def pictures() -> list[dict[str, Any]]:
    """Rows with small images of one colour, each a little lighter than the one before."""
    question = "Which colour is it: red, green or blue?"
    return [
        {"image": dspy.Image(png([c + 3 * n for c in rgb])), "question": question, "answer": name}
        for n in range(14)
        for name, rgb in COLOURS.items()
    ]


def png(colour: Sequence[int]) -> str:
    """An image of 8 x 8 pixels as a data URL."""
    row = b"\0" + bytes(colour) * 8

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(row * 8))
    return "data:image/png;base64," + base64.b64encode(data + chunk(b"IEND", b"")).decode()


def task(kind: str) -> tuple[Any, list[dict[str, Any]]]:
    """The agent of this kind, and its examples."""
    if kind == "images":
        return NameColour(), pictures()
    factory = {"openai": build, "langgraph": build_graph}[kind]
    pipeline = from_callable(factory, ["shop"], name=f"shop-{kind}", outputs=["answer"])
    return pipeline, QUESTIONS


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=["openai", "langgraph", "images"])
    parser.add_argument("--models", help="litellm names, with commas; the first is the baseline")
    options = parser.parse_args()
    with ExitStack() as stack:
        models: list[Any] = options.models.split(",") if options.models else []
        models = models or made_up_models(stack.enter_context(fake_server()).url)
        pipeline, rows = task(options.kind)
        budget = Budget(usd=1, calls=500)
        print(optimize(pipeline, rows, models, stages="allocation", budget=budget))


def made_up_models(url: str) -> list[Model]:
    """Two models of the fake server, at prices of their own."""
    return [
        Model(
            f"openai/{name}", name, url, input_usd_per_million=usd, output_usd_per_million=4 * usd,
            max_tokens=200,
        )
        for name, usd in (("small", 0.1), ("large", 0.2))
    ]  # fmt: skip


def fake_server() -> LoopbackServer:
    """It stands in for a provider; it is in this repository, and not in the package."""
    sys.path.append(str(Path(__file__).parent.parent))
    from benchmarks.loopback import LoopbackServer

    return LoopbackServer(reply=play)


def play(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> Any:
    """What a made-up model says: `small` sees red alone, and multiplies by two at most."""
    from benchmarks.loopback import calling, images_of
    from pipelines.providers.output_fields import requested_fields

    is_large = params["model"] == "large"
    if images := images_of(messages):
        data = base64.b64decode(images[-1].partition(",")[2])
        pixel = zlib.decompress(data[data.index(b"IDAT") + 4 :])[1:4]
        seen = max(COLOURS, key=lambda name: pixel[list(COLOURS).index(name)])
        fields = requested_fields(messages)
        assert fields is not None
        said = seen if is_large else "red"
        return fields.written({"answer": said, "ratings": "[]", "reason": "no idea"})
    if "tools" not in params:  # the diagnoser's question
        return "no idea"
    asked = next(message["content"] for message in messages if message["role"] == "user")
    count, item = int(asked.split()[2]), asked.split("'")[1]
    if messages[-1]["role"] != "tool":
        return calling("price_of", item=item)
    price = int(messages[-1]["content"])
    return f"So the answer is {price * (count if is_large else min(count, 2))}."


if __name__ == "__main__":
    # under its own name, and not as `__main__`, a saved pipeline finds the agents again
    importlib.import_module(Path(__file__).stem).main()
