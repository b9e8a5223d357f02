"""Tune the models of a LangGraph graph: two nodes that ask, locate and then solve.

    python examples/langgraph_agent.py sim/hazel sim/alder sim/birch
    python examples/langgraph_agent.py openai/gpt-4o-mini anthropic/claude-haiku-4-5 --usd 1

The first line needs no keys. The second needs OPENAI_API_KEY and ANTHROPIC_API_KEY, and spends at
most a dollar. Beside this library it takes `pip install langgraph`. The tuned pipeline is saved in
the working folder, as tuned.yaml. It names `build`, so loading it imports this file:
`Pipeline.load("tuned.yaml", allow_code=True)`.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypedDict

from langgraph.graph import END, START, StateGraph

from optimizer import Budget, from_callable, optimize

HERE = Path(__file__).parent


class State(TypedDict, total=False):
    table: str
    question: str
    task: str
    answer: str


def build(models: Mapping[str, str]) -> Callable[..., State]:
    """The graph, asking these models, as a function of its inputs."""
    import litellm  # late: it takes two seconds

    def ask(module: str, prompt: str) -> str:
        messages = [{"role": "user", "content": prompt}]
        reply = litellm.completion(model=models[module], messages=messages)
        return str(reply.choices[0].message.content)

    def locate(state: State) -> State:
        text = f"{state['table']}\n\n{state['question']}"
        reply = ask("locate", f"Extract the task whose ID is asked for.\n\n{text}")
        return {"task": conclusion(reply)}

    def solve(state: State) -> State:
        prompt = f"{state['task']}\n\nEnd with 'the answer is' and the number."
        return {"answer": conclusion(ask("solve", prompt))}

    graph = StateGraph(State)
    graph.add_node("locate", locate)
    graph.add_node("solve", solve)
    graph.add_edge(START, "locate")
    graph.add_edge("locate", "solve")
    graph.add_edge("solve", END)
    compiled = graph.compile()

    def agent(table: str, question: str) -> State:
        final: State = compiled.invoke({"table": table, "question": question})  # type: ignore[assignment]
        return {"answer": final["answer"]}

    return agent


def conclusion(reply: str) -> str:
    """What a reply ends in: behind "the answer is", if it says so."""
    return reply.rpartition("answer is ")[2].strip().removesuffix(".")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", help="litellm names; the first one is the baseline")
    parser.add_argument("--usd", type=float, default=1.0, help="most dollars (1)")
    options = parser.parse_args()
    result = optimize(
        from_callable(build, ["locate", "solve"], name="langgraph-agent", outputs=["answer"]),
        HERE / "locate_solve.jsonl",
        options.models,
        stages="allocation",  # models alone; without this, temperatures too
        budget=Budget(usd=options.usd, calls=5000),
    )
    print(result)
    result.save("tuned.yaml")
    print('saved: tuned.yaml; Pipeline.load("tuned.yaml", allow_code=True) loads it')


if __name__ == "__main__":
    # under its own name, and not as `__main__`, the saved pipeline finds `build` again
    importlib.import_module(Path(__file__).stem).main()
