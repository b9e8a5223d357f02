"""Validation of `Module`: one check per knob, each returning the value to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from pipelines.errors import PipelineError
from pipelines.modules.functions import check_arguments, import_function
from pipelines.modules.signature import (
    REASONING,
    RESERVED_INPUTS,
    STRATEGIES,
    check_fields,
    signature_fields,
    signature_text,
)
from search_spaces.config import ReplyFormat
from search_spaces.refusals import check_temperature, nearest

if TYPE_CHECKING:
    from pipelines.modules.functions import Function
    from pipelines.modules.module import Module
    from pipelines.modules.signature import Fields, Signature


def check_demos(module: Module, demos: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The demos (mappings or `dspy.Example`s) as plain records of the module's own fields.

    Raises:
        PipelineError: a demo is not a record, or has an unknown field.
    """
    fields = {**module.input_fields, **module.output_fields, "augmented": bool}
    checked = []
    for demo in demos:
        record = demo.toDict() if hasattr(demo, "toDict") else demo
        if not isinstance(record, Mapping):
            raise PipelineError(f"a demo must be a record of fields, but got {demo!r}")
        for key in record:
            if key not in fields:
                raise PipelineError(f"a demo has the unknown field {key!r}{nearest(key, fields)}")
        checked.append(dict(record))
    return tuple(checked)


def _name(module: Module) -> str:
    from pipelines.programs.program import Program

    name = module.name
    if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
        raise PipelineError("a module's name must be an identifier, such as 'solve'")
    if hasattr(Program, name) or name in ("callbacks", "history"):
        raise PipelineError("this name is taken by DSPy's programs; choose another")
    return name


def _signature(module: Module) -> Signature:
    given = module.signature
    if not isinstance(given, str) and not hasattr(given, "input_fields"):
        raise PipelineError(
            f"signature must be text, such as 'question -> answer', or a dspy.Signature class, "
            f"but got {given!r}"
        )
    try:
        if not isinstance(given, str):
            check_fields(given)
        fields = signature_fields(given)
        if module.function is None:
            _check_llm_fields(module, fields)
    except PipelineError as error:
        raise PipelineError(f"bad signature {signature_text(given)!r}: {error}") from error
    return given


def _check_llm_fields(module: Module, fields: Fields) -> None:
    for name in fields.inputs:
        if name in RESERVED_INPUTS:
            raise PipelineError(
                f"DSPy's predictors take {name!r} for themselves; give this input another name, "
                "and rename it to the pipeline's"
            )
    if module.strategy == "chain_of_thought" and REASONING in {**fields.inputs, **fields.outputs}:
        raise PipelineError(
            f"chain_of_thought adds {REASONING!r} itself; leave it out, and use rename to wire it"
        )


def _function(module: Module) -> Function | None:
    given = module.function
    if given is None:
        return None
    function = import_function(given) if isinstance(given, str) else given
    if not callable(function):
        raise PipelineError(
            f"function must be callable or 'package.module:name', but got {given!r}"
        )
    check_arguments(function, module.input_fields, _params(module))
    return function


def _text(knob: str) -> Callable[[Module], str | None]:
    def check(module: Module) -> str | None:
        value: str | None = getattr(module, knob)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            rule = "text that is not blank" if isinstance(value, str) else "text"
            raise PipelineError(f"{knob} must be {rule}, but got {value!r}")
        return value

    return check


def _temperature(module: Module) -> float | None:
    try:
        return check_temperature(module.temperature)
    except ValueError as error:
        raise PipelineError(str(error)) from None


def _choice(knob: str, known: Sequence[str]) -> Callable[[Module], str]:
    def check(module: Module) -> str:
        value: str = getattr(module, knob)
        if value not in known:
            hint = nearest(value, known)
            raise PipelineError(
                f"{knob} must be one of {', '.join(known)}, but got {value!r}{hint}"
            )
        return value

    return check


def _rename(module: Module) -> dict[str, str]:
    if not isinstance(module.rename, Mapping):
        raise PipelineError(f"rename must map fields to fields, but got {module.rename!r}")
    fields = {**module.input_fields, **module.output_fields}
    for own, wired in module.rename.items():
        if own not in fields:
            raise PipelineError(f"rename names the unknown field {own!r}{nearest(own, fields)}")
        if not isinstance(wired, str) or not wired.isidentifier():
            raise PipelineError(f"rename must give {own!r} an identifier, but got {wired!r}")
    written = [module.rename.get(name, name) for name in module.output_fields]
    twice = [name for name in written if written.count(name) > 1]
    if twice:
        raise PipelineError(f"rename must keep outputs apart, but two become {twice[0]!r}")
    return dict(module.rename)


def _params(module: Module) -> dict[str, Any]:
    params = module.params
    if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
        raise PipelineError(f"params must be a mapping by name, but got {params!r}")
    if params and module.function is None:
        raise PipelineError(f"only a function module has params, but got {dict(params)!r}")
    return dict(params)


def _demos(module: Module) -> tuple[dict[str, Any], ...]:
    if isinstance(module.demos, str | Mapping) or not isinstance(module.demos, Iterable):
        raise PipelineError(f"demos must be a list of records, but got {module.demos!r}")
    return check_demos(module, module.demos)


def checked(module: Module, knob: str) -> Any:
    """The value of a knob to keep, whose check is one of `CHECKS`.

    Raises:
        PipelineError: the rule that it breaks.
    """
    value = CHECKS[knob](module)
    if module.function is not None and value != _OF_LLMS.get(knob, value):
        raise PipelineError(f"a function module has no {knob}")
    return value


_OF_LLMS: Mapping[str, Any] = {
    "strategy": "predict", "instructions": None, "model": None, "temperature": None, "demos": (),
    "reply_format": "chat",
}  # fmt: skip
"""What only a module that asks a model may have, and its default."""

CHECKS: Mapping[str, Callable[[Module], Any]] = {
    "name": _name,
    "signature": _signature,
    "strategy": _choice("strategy", STRATEGIES),
    "params": _params,
    "function": _function,
    "instructions": _text("instructions"),
    "model": _text("model"),
    "temperature": _temperature,
    "rename": _rename,
    "demos": _demos,
    "reply_format": _choice("reply_format", get_args(ReplyFormat)),
}
"""In the order in which they are run: later ones rely on earlier ones."""
