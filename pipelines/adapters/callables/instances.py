"""Instances of the user's code, one for each concurrent run."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipelines.adapters.callables.event_loop import awaited
from pipelines.adapters.callables.handle import Handles, ModelHandle, Setting
from pipelines.adapters.callables.run import Run
from pipelines.adapters.entrances import ChatRequest, RefusedRequest, ServerLease, register
from pipelines.errors import PipelineError
from pipelines.gateway.call import LMReply

Factory = Callable[[Mapping[str, ModelHandle]], Callable[..., Any]]


KEPT = 4
"""About how many configs race at once: each keeps the instances that it needs for that."""


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
        made = ((name, ModelHandle(token, name, each)) for name, each in settings.items())
        handles = Handles(made)
        try:
            self.function = factory(handles)
        except BaseException:
            self.close()
            raise

    def call(self, run: Run, inputs: Mapping[str, Any]) -> Any:
        """What the function returns; its calls belong to this run meanwhile."""
        self._run = run
        try:
            return awaited(self.function(**inputs))
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
        """An instance for this run alone, last used with these very `settings` or new.

        After a failed run it is not lent again: its threads may still be running, and their calls
        would be counted for the next run.

        Raises:
            FactoryFailed: the factory made no function.
        """
        instance = self._taken(settings)
        try:
            instance = instance or made(self._factory, settings)
            yield instance
            if run.ended is None and not run.is_asking:
                instance = self._put_back(instance)
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

    def _put_back(self, instance: Instance) -> Instance | None:
        """Keep it idle; drop the one that was idle longest, if there are too many."""
        with self._lock:
            self._idle.append(instance)
            return self._idle.pop(0) if len(self._idle) > KEPT * self._most else None


def made(factory: Factory, settings: Mapping[str, Setting]) -> Instance:
    """An instance of the code.

    Raises:
        FactoryFailed: the factory raised, or returned something else than a function.
    """
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
    """Whether it can be called with the models alone, as far as its signature says."""
    try:
        inspect.signature(factory).bind({})
    except TypeError:
        return False
    except ValueError:  # some builtins have none
        return True
    return True
