"""Servers on the user's own machine, and the variables that hold the addresses of servers."""

from __future__ import annotations

import os
import re
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


_ENDINGS = ("_API_BASE", "_BASE_URL", "_ENDPOINT", "_URL")
_OTHER_WORDS: Mapping[str, tuple[str, ...]] = {
    "custom": ("OPENAI",),
    "friendliai": ("FRIENDLI",),
    "huggingface": ("HUGGINGFACE", "HF"),
    "meta": ("META", "LLAMA"),
    "text": ("OPENAI",),  # text-completion-openai
    "volcengine": ("VOLCENGINE", "ARK"),
    "watsonx": ("WATSONX", "WX", "WML"),
}
"""Where litellm's variables do not bear the first word of the provider's name."""


def address_variables(name: str) -> dict[str, str]:
    """The variables that are set and may hold the address that a model of this name is asked at.

    litellm's bear the first word of the provider's name, as `OLLAMA_API_BASE` does for
    `ollama_chat/...`. For a name without a provider, those of all providers count.
    """
    provider, slash, _ = name.partition("/")
    first = re.split("[-_]", provider)[0].lower()
    words = _OTHER_WORDS.get(first, (first.upper(),)) if slash else ("",)
    return {
        variable: os.environ[variable]
        for variable in sorted(os.environ)
        if variable.endswith(_ENDINGS if slash else _ENDINGS[:2])
        and any(f"_{word}" in f"_{variable}" for word in words)
    }
