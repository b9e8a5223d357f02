"""Instances of the user's code, one for each concurrent run."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from pipelines.adapters.callables.handle import Handles, ModelHandle, Setting
from pipelines.adapters.callables.run import Run
from pipelines.adapters.entrances.askers import register
from pipelines.adapters.entrances.chat_request import ChatRequest, RefusedRequest
from pipelines.adapters.entrances.server import ServerLease
from pipelines.errors import PipelineError
from pipelines.gateway.call import LMReply
from pipelines.gateway.concurrency.event_loop import event_loop

Factory = Callable[[Mapping[str, ModelHandle]], Callable[..., Any]]

KEPT = 4
"""About how many configs race at once: each keeps the instances that it needs for that."""
_THREADS = partial(ThreadPoolExecutor, 256)
"""For the calls in flight of all runs, as many as several providers allow; Python's default is a
few more than processors."""
_RULE = "a factory takes `models` and returns the function that runs"


class FactoryFailed(PipelineError):
    """The factory made no function."""


class Instance:
    """A function that the factory made; the token in its handles identifies its calls."""

    def __init__(self, factory: Factory, settings: Mapping[str, Setting]) -> None:
        self.settings = settings
        self._run: Run | None = None
        self._lease: ServerLease | None = None
        self._closed = False
        self._opening = threading.Lock()
        self._token = token = register(self)
        handles = ((name, ModelHandle(token, name, each)) for name, each in settings.items())
        try:
            self.function = factory(Handles(handles))
        except BaseException:
            self.close()
            raise

    def call(self, run: Run, inputs: Mapping[str, Any]) -> Any:
        """What the function returns; its calls belong to this run meanwhile."""
        self._run = run
        try:
            return _awaited(self.function(**inputs))
        finally:
            self._run = None

    def ask(self, module: str, request: ChatRequest) -> list[LMReply]:
        """See `Asker.ask`."""
        run = self._run
        if run is None:
            raise RefusedRequest(
                f"module {module!r} is asked outside of a run: the function that the factory "
                "returns may ask, while it runs, and the factory itself may not"
            )
        return run.ask(module, request)

    def base_url(self, module: str) -> str:
        """See `Asker.base_url`."""
        with self._opening:
            if self._closed:
                raise RefusedRequest(f"module {module!r} is asked when its run is over")
            lease = self._lease = self._lease or ServerLease()
        return f"{lease.address}/{self._token}/{module}/v1"

    def close(self) -> None:
        """Release the server."""
        with self._opening:
            self._closed = True
            self._lease = None


class Instances:
    """Lends instances to runs, each to runs of one config.

    The code may keep state between runs, such as replies, which must not reach another config.
    """

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._idle: list[Instance] = []
        self._lent = self._most = 0
        self._lock = threading.Lock()

    @contextmanager
    def lent(self, run: Run, settings: Mapping[str, Setting]) -> Iterator[Instance]:
        """An instance for this run alone: a new one, or one last used with the same `settings`.

        After a failed run it is not lent again: its threads may still be running, and their calls
        would be
        counted for the next run.
        """
        instance = self._taken(settings)
        try:
            instance = instance or made(self._factory, settings)
            yield instance
            if run.ended is None and not run.is_asking:
                with self._lock:  # keep it idle; drop the one that was idle longest
                    self._idle.append(instance)
                    full = len(self._idle) > KEPT * self._most
                    instance = self._idle.pop(0) if full else None
        finally:
            with self._lock:
                self._lent -= 1
            if instance is not None:
                instance.close()

    def _taken(self, settings: Mapping[str, Setting]) -> Instance | None:
        with self._lock:
            self._lent += 1
            self._most = max(self._most, self._lent)
            for place, each in enumerate(self._idle):
                if each.settings is settings:
                    return self._idle.pop(place)
        return None


def made(factory: Factory, settings: Mapping[str, Setting]) -> Instance:
    """An instance of the code; raises FactoryFailed if the factory raises or makes no function."""
    name = getattr(factory, "__qualname__", repr(factory))
    try:
        instance = Instance(factory, settings)
    except Exception as error:  # the user's own code, which may raise anything
        rule = "" if _takes_models(factory) else f"; {_RULE}"
        problem = f"{type(error).__name__}: {error}{rule}"
        raise FactoryFailed(f"{name}(models) made no function: {problem}") from error
    if not callable(instance.function):
        instance.close()
        raise FactoryFailed(
            f"{name}(models) must return a function from inputs to outputs, but returned "
            f"{instance.function!r}; {_RULE}"
        )
    return instance


def _takes_models(factory: Factory) -> bool:
    """Whether its signature allows a call with the models alone."""
    try:
        inspect.signature(factory).bind({})
    except TypeError:
        return False
    except ValueError:  # some builtins have none
        pass
    return True


def _awaited(returned: Any) -> Any:
    """The function's result, awaited if it is a coroutine.

    All asynchronous code runs on one event loop, as in a server: clients stay bound to the loop of
    their first call, and litellm keeps a process-wide queue on the loop that it last used. With a
    loop for each run, that queue would grow and litellm would warn each time.
    """

    async def result(awaitable: Awaitable[Any]) -> Any:
        return await awaitable

    if not inspect.isawaitable(returned):
        return returned
    loop = event_loop("plain-python", _THREADS)
    future = asyncio.run_coroutine_threadsafe(result(returned), loop)
    try:
        return future.result()
    finally:
        future.cancel()  # after ctrl-C nothing waits for it
