"""Agents in plain Python that ask their models by different SDKs, and what binds them in tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx
import litellm
import openai

from pipelines.adapters.callables import CallablePipeline, ModelHandle, from_callable
from pipelines.adapters.callables.bound import BoundCallable
from pipelines.gateway.gateway import Session
from pipelines.gateway.model import Model
from search_spaces import ModuleConfig, PipelineConfig
from tests.pipelines.scripted_session import MODELS, ScriptedSession

Models = Mapping[str, ModelHandle]
Ask = Callable[..., str]
"""`ask(handle, text, **params)`: what a model replies to one message of the user's."""

HTTP = httpx.Client()  # TLS settings take 30 ms to read, and no instance needs its own


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def by_litellm(handle: ModelHandle, text: str, **params: Any) -> str:
    return content(litellm.completion(model=handle, messages=user(text), **params))


def by_litellm_stream(handle: ModelHandle, text: str, **params: Any) -> str:
    chunks = litellm.completion(model=handle, messages=user(text), stream=True, **params)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def by_litellm_async(handle: ModelHandle, text: str, **params: Any) -> str:
    async def ask() -> str:
        return content(await litellm.acompletion(model=handle, messages=user(text), **params))

    return asyncio.run(ask())


def by_openai(handle: ModelHandle, text: str, **params: Any) -> str:
    client = openai.OpenAI(base_url=handle.base_url, api_key=handle.api_key, http_client=HTTP)
    return content(client.chat.completions.create(model=handle, messages=user(text), **params))  # type: ignore[arg-type]


def by_openai_stream(handle: ModelHandle, text: str, **params: Any) -> str:
    client: Any = openai.OpenAI(base_url=handle.base_url, api_key="none", http_client=HTTP)
    chunks = client.chat.completions.create(
        model=handle, messages=user(text), stream=True, **params
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def by_http(handle: ModelHandle, text: str, **params: Any) -> str:
    body = {"model": handle, "messages": user(text), **params}
    reply = HTTP.post(f"{handle.base_url}/chat/completions", json=body)
    reply.raise_for_status()
    return str(reply.json()["choices"][0]["message"]["content"])


def by_gateway(handle: ModelHandle, text: str, **params: Any) -> str:
    return handle.complete(user(text), **params)


ROUTES: dict[str, Ask] = {
    "litellm": by_litellm,
    "litellm stream": by_litellm_stream,
    "litellm async": by_litellm_async,
    "openai": by_openai,
    "openai stream": by_openai_stream,
    "httpx": by_http,
    "gateway": by_gateway,
}
FEW = ("litellm", "openai", "gateway")
"""One of each kind: an exception, a status, and directly."""


def content(response: Any) -> str:
    return str(response.choices[0].message.content)


def answer_in(reply: str) -> str:
    """What a simulated model means to say: the end of its reply."""
    return reply.rpartition("answer is ")[2].removesuffix(".")


def locating(ask: Ask) -> Callable[[Models], Callable[..., Any]]:
    """The factory of an agent that locates a task and then solves it."""

    def build(models: Models) -> Callable[..., Any]:
        def agent(table: str, question: str) -> dict[str, str]:
            prompt = f"Extract the task whose ID is asked for.\n{table}\n{question}"
            task = answer_in(ask(models["locate"], prompt))
            return {"answer": answer_in(ask(models["solve"], task))}

        return agent

    return build


def locate_and_solve(models: Models) -> Callable[..., Any]:
    """To be imported by name."""
    return locating(by_litellm)(models)


def locate_and_solve_async(models: Models) -> Callable[..., Awaitable[str]]:
    """A client that is made once and used in many runs."""
    client = openai.AsyncOpenAI(base_url=models["locate"].base_url, api_key="none")

    async def agent(table: str, question: str) -> str:
        prompt = f"Extract the task whose ID is asked for.\n{table}\n{question}"
        asked: Any = user(prompt)
        located = await client.chat.completions.create(model="any", messages=asked)
        return answer_in(await models["solve"].acomplete(user(answer_in(content(located)))))

    return agent


def once(ask: Callable[[Models, str], Any], **knobs: Any) -> CallablePipeline:
    """An agent of one function of its handles and a question."""

    def build(models: Models) -> Callable[..., Any]:
        def agent(question: str) -> Any:
            return ask(models, question)

        return agent

    return from_callable(build, **{"modules": ["solve"], "outputs": ["answer"], **knobs})


def bound(
    pipeline: CallablePipeline,
    session: ScriptedSession | Session,
    models: Mapping[str, Model] = MODELS,
    **knobs: Any,
) -> BoundCallable:
    """The pipeline with the first of the models in all modules."""
    label = next(iter(models))
    modules = {m.name: ModuleConfig(models=(label,), **knobs) for m in pipeline.modules}
    account: Any = session
    made = pipeline.bind(PipelineConfig(modules=modules), models, account)
    assert isinstance(made, BoundCallable)
    return made


def asked(session: ScriptedSession) -> Sequence[tuple[str, int]]:
    """What was asked, and which sample."""
    return [(call.messages[-1]["content"], call.sample) for call in session.calls]
