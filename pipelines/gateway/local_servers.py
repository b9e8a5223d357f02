"""Servers on the user's own machine, and the variables that hold the addresses of servers."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import NamedTuple


class LocalServer(NamedTuple):
    """One kind of server, which needs no key and costs nothing per token."""

    usual: str
    """The address where it listens by default."""
    variable: str
    """The environment variable that holds another address: litellm's."""
    key_variable: str
    """The one that holds a key, where the server wants one: litellm's."""
    start: str
    """The command that starts it; `{name}` is the model's."""
    get: str = ""
    """The command that fetches a model."""

    @property
    def address(self) -> str:
        """The variable's value, else the usual address."""
        return os.environ.get(self.variable) or self.usual


_OLLAMA = LocalServer(
    "http://localhost:11434",
    "OLLAMA_API_BASE",
    "OLLAMA_API_KEY",
    "ollama serve",
    "ollama pull {name}",
)
LOCAL_SERVERS: Mapping[str, LocalServer] = {
    "ollama": _OLLAMA,
    "ollama_chat": _OLLAMA,
    "llamafile": LocalServer(
        "http://127.0.0.1:8080/v1",
        "LLAMAFILE_API_BASE",
        "LLAMAFILE_API_KEY",
        "llama-server -m {name}.gguf",
    ),
    "lm_studio": LocalServer(
        "http://127.0.0.1:1234/v1",
        "LM_STUDIO_API_BASE",
        "LM_STUDIO_API_KEY",
        "lms server start",
        "lms get {name}",
    ),
    "hosted_vllm": LocalServer(
        "http://127.0.0.1:8000/v1",
        "HOSTED_VLLM_API_BASE",
        "HOSTED_VLLM_API_KEY",
        "vllm serve {name}",
    ),
}
"""By the prefix of a model's name."""


def local_server(name: str) -> LocalServer | None:
    """The server that a model of this name is asked at; None where it is none of these."""
    return LOCAL_SERVERS.get(name.partition("/")[0])


_ENDINGS = ("_API_BASE", "_BASE_URL")
_OTHERS: Mapping[str, tuple[str, ...]] = {
    "BEDROCK": ("AWS_BEDROCK_RUNTIME_ENDPOINT",),
    "CUSTOM": ("OPENAI_BASE_URL", "OPENAI_API_BASE"),
    "DATAROBOT": ("DATAROBOT_ENDPOINT",),
    "FRIENDLIAI": ("FRIENDLI_API_BASE",),
    "GRADIENT": ("GRADIENT_AI_AGENT_ENDPOINT",),
    "HUGGINGFACE": ("HF_API_BASE",),
    "META": ("LLAMA_API_BASE",),
    "TEXT": ("OPENAI_BASE_URL", "OPENAI_API_BASE"),  # text-completion-openai
    "VERTEX": ("VERTEXAI_API_BASE",),
    "VOLCENGINE": ("ARK_API_BASE",),
    "WATSONX": ("WATSONX_URL", "WX_URL", "WML_URL"),
}
"""By the first word of a provider's name, variables of litellm's that are called otherwise."""


def address_variables(name: str) -> dict[str, str]:
    """The variables that are set and may hold the address that a model of this name is asked at.

    litellm's bear the provider's name or its first word, as `OLLAMA_API_BASE` does for
    `ollama_chat/...`. For a name without a provider, those of all providers count.
    """
    provider, slash, _ = name.partition("/")
    every = (variable for variable in sorted(os.environ) if variable.endswith(_ENDINGS))
    variables = _variables_of(provider) if slash else every
    return {variable: value for variable in variables if (value := os.environ.get(variable))}


@functools.cache
def _variables_of(provider: str) -> tuple[str, ...]:
    whole = provider.upper().replace("-", "_")
    first = whole.partition("_")[0]
    usual = (word + ending for word in dict.fromkeys((whole, first)) for ending in _ENDINGS)
    return (*usual, *_OTHERS.get(first, ()))
