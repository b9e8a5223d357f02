"""Handles, which the user's code uses in place of models' names."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, Self

from pipelines.adapters.entrances.askers import PREFIX, asker_of
from pipelines.adapters.entrances.chat_request import RefusedRequest, chat_request
from search_spaces.refusals import nearest


class Setting(NamedTuple):
    """A module's model and temperature in a config."""

    model: str
    """The model's name, as litellm has it."""
    temperature: float | None


class Handles(dict[str, "ModelHandle"]):
    """The handles by module."""

    def __missing__(self, module: str) -> NoReturn:
        raise KeyError(f"there is no module {module!r}{nearest(module, self)}")


class ModelHandle(str):
    """The model of one module: text that is the name of a litellm model, and ways to ask it.

    `litellm.completion(model=handle, messages=...)` goes through the gateway, and so does
    `litellm.acompletion`. Other SDKs take `base_url` and `api_key`, as
    `OpenAI(base_url=handle.base_url, api_key=handle.api_key)` does. It is valid within the function
    that the factory made with it, while that runs.
    """

    name: str
    """The model's own name, for code that asks it past the gateway: nothing is counted there."""
    temperature: float | None
    """As the config has it; None leaves it to the code. The gateway sets it in any case."""
    _place: tuple[str, str]

    def __new__(cls, token: str, module: str, setting: Setting) -> Self:
        """The handle of one module for the code with this token."""
        made = super().__new__(cls, f"{PREFIX}/{token}/{module}")
        made.name, made.temperature = setting
        made._place = token, module
        return made

    @property
    def base_url(self) -> str:
        """The address of an OpenAI-compatible server on 127.0.0.1, which is opened when read."""
        token, module = self._place
        return asker_of(token).base_url(module)

    @property
    def api_key(self) -> str:
        """A placeholder: clients want one, and the server asks for none."""
        return "none"

    def complete(self, messages: Sequence[Mapping[str, Any]], **params: Any) -> str:
        """The reply to these messages, through the gateway.

        Args:
            messages: in OpenAI's form, `[{"role": "user", "content": "..."}]`.
            params: in OpenAI's form too, such as `max_tokens=200`; no tools, since text does
                not tell of their calls.

        Raises:
            RefusedRequest: the gateway can't send that on; names the parameter.
            CallFailed: no answer, after all retries.
        """
        token, module = self._place
        if params.get("tools"):
            raise RefusedRequest(
                "the parameter 'tools' needs a client that reads tool calls, and complete() "
                "returns text: ask by litellm, or by OpenAI's client with base_url and api_key"
            )
        request = chat_request(messages, {**params, "n": 1})
        return asker_of(token).ask(module, request)[0].text

    async def acomplete(self, messages: Sequence[Mapping[str, Any]], **params: Any) -> str:
        """As `complete`, without holding up the event loop."""
        return await asyncio.to_thread(self.complete, messages, **params)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Frameworks copy their settings, but there is only one run behind it."""
        return self

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Pickled as text: a handle means nothing after its run."""
        return str, (str(self),)
