"""A pipeline of modules as the source of a DSPy program, which runs without this library.

Where DSPy has no form for the config, the source runs the pipeline by this library instead.
"""

from __future__ import annotations

import ast
import keyword
import textwrap
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from pipelines import Module, Pipeline, PipelineError
from pipelines.adapters.dspy_programs.inspection.lms import as_lm
from pipelines.gateway.model import Model
from pipelines.modules.functions import reference_of
from pipelines.modules.signature import REASONING
from pipelines.providers import is_known_elsewhere
from search_spaces import ModuleConfig

_OUTPUTS = '''

def outputs(returned, names):
    """What a function returns, by field."""
    if isinstance(returned, Mapping) and set(returned) == set(names):
        return dict(returned)
    return {names[0]: returned}
'''


def dspy_source(pipeline: Pipeline) -> tuple[str, str | None]:
    """The source of a module that defines `Program` and `program`, and why it needs this library.

    The latter is None where `dspy` alone is enough. Keys are read from their environment variables
    when the program is made.

    Raises:
        PipelineError: a function can't be imported by name.
    """
    try:
        return _source(pipeline, _plain_class(pipeline)), None
    except PipelineError as error:
        own = _source(pipeline, _own_class(pipeline), f"Needs compound-optimizer: {error.message}")
        return own, error.message


def _source(pipeline: Pipeline, body: str, remark: str = "Needs dspy alone.") -> str:
    about = f"Pipeline {pipeline.name}: {', '.join(pipeline.inputs)} -> "
    about += f"{', '.join(pipeline.outputs)}. {remark}"
    text = textwrap.fill(about.replace("\\", "\\\\").replace('"', "'"), 96)
    return f'"""{text}"""\n\n{body}\n\nprogram = Program()\n'


def _own_class(pipeline: Pipeline) -> str:
    return f"""import dspy
from optimizer import Pipeline

PIPELINE = {pipeline.to_yaml()!r}


class Program(dspy.Module):
    def __init__(self):
        super().__init__()
        self.pipeline = Pipeline.from_yaml(PIPELINE, allow_code=True)

    def forward(self, {", ".join(pipeline.inputs)}):
        return self.pipeline({_by_name({name: name for name in pipeline.inputs})})
"""


def _plain_class(pipeline: Pipeline) -> str:
    """Imports and the class; raises PipelineError if DSPy can't hold the config."""
    config = pipeline.config or pipeline.default_config()
    models = pipeline.named_models()
    imports = {"import os", "import dspy"}
    made: list[str] = []
    ran: list[str] = []
    for name in chain.from_iterable(pipeline.levels):
        module, knobs = pipeline.module(name), config.modules[name]
        _check_names(module)
        if module.is_llm:
            model = models[_only_model(module, knobs)]
            made += _predictor(module, knobs, model, imports)
            ran += _asked(module, knobs)
        else:
            ran += _called(module, knobs, imports)
    if any(not module.is_llm for module in pipeline.modules):
        imports.add("from collections.abc import Mapping")
    returned = _by_name({field: f"values[{field!r}]" for field in pipeline.outputs})
    given = ", ".join(pipeline.inputs)
    lines = [
        *sorted(imports, key=lambda line: (line != "import os", line.startswith("from"), line)),
        *(_OUTPUTS.splitlines() if "from collections.abc import Mapping" in imports else ()),
        "", "",
        "class Program(dspy.Module):",
        "    def __init__(self):",
        "        super().__init__()",
        *(f"        {line}" for line in made),
        "",
        f"    def forward(self, {given}):",
        f"        values = dict({_by_name({name: name for name in pipeline.inputs})})",
        *(f"        {line}" for line in ran),
        f"        return dspy.Prediction({returned})",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _only_model(module: Module, knobs: ModuleConfig) -> str:
    if knobs.width > 1:
        raise PipelineError(
            f"module {module.name!r} asks {knobs.width} members, which DSPy has no form for "
            "(SearchSpace(exportable=True) searches without)"
        )
    return knobs.labels[0]


def _predictor(
    module: Module, knobs: ModuleConfig, model: Model, imports: set[str]
) -> Iterator[str]:
    if not is_known_elsewhere(model):
        raise PipelineError(f"{model.name!r} is a model of this library's own")
    kind = "ChainOfThought" if module.strategy == "chain_of_thought" else "Predict"
    instructions = module.instructions if knobs.instructions is None else knobs.instructions
    if isinstance(module.signature, str):
        more = "" if instructions is None else f", {instructions!r}"
        signature = f"dspy.Signature({module.signature!r}{more})"
    else:
        signature = _imported(module.signature, imports)
        signature += "" if instructions is None else f".with_instructions({instructions!r})"
    own = f"self.{module.name}"
    yield f"{own} = dspy.{kind}({signature})"
    yield f"{own}.set_lm({_lm(model, knobs)})"
    if knobs.demos:
        examples = ", ".join(f"dspy.Example({_plain(dict(demo))})" for demo in knobs.demos)
        place = f"{own}.predict" if kind == "ChainOfThought" else own
        yield f"{place}.demos = [{examples}]"


def _lm(model: Model, knobs: ModuleConfig) -> str:
    kwargs = as_lm(model, knobs.temperature, knobs.params).kwargs
    given = {k: _plain(v) for k, v in kwargs.items() if v is not None and k != "api_key"}
    if model.key_variable:
        given["api_key"] = f"os.environ.get({model.key_variable!r})"
    elif model.api_base:
        given["api_key"] = "'none'"  # never another provider's
    arguments = "".join(f", {name}={value}" for name, value in given.items())
    return f"dspy.LM({model.name!r}{arguments}, cache=False)"


def _asked(module: Module, knobs: ModuleConfig) -> Iterator[str]:
    inputs = _by_name(
        {own: f"values[{module.pipeline_field(own)!r}]" for own in module.input_fields}
    )
    call = f"found = self.{module.name}({inputs})"
    if knobs.reply_format == "chat":
        yield call
    else:
        yield f"with dspy.context(adapter=dspy.{knobs.reply_format.upper()}Adapter()):"
        yield f"    {call}"
    for own in module.output_fields:
        if own != REASONING or not module.keeps_reasoning:
            yield f"values[{module.pipeline_field(own)!r}] = found[{own!r}]"


def _called(module: Module, knobs: ModuleConfig, imports: set[str]) -> Iterator[str]:
    function = _imported(module.callable, imports)
    given = {own: f"values[{module.pipeline_field(own)!r}]" for own in module.input_fields}
    params = {name: _plain(value) for name, value in {**module.params, **knobs.params}.items()}
    fields = list(module.output_fields)
    yield f"found = outputs({function}({_by_name({**params, **given})}), {fields!r})"
    for own in fields:
        yield f"values[{module.pipeline_field(own)!r}] = found[{own!r}]"


def _imported(thing: Any, imports: set[str]) -> str:
    """How the source refers to a function or class, once its module is imported."""
    package, _, name = reference_of(thing).partition(":")
    imports.add(f"import {package}")
    return f"{package}.{name}"


def _plain(value: Any) -> str:
    """The value as source; raises PipelineError if it is not plain data."""
    if isinstance(value, Mapping):
        text = ", ".join(f"{_plain(key)}: {_plain(each)}" for key, each in value.items())
        return f"{{{text}}}"
    text = repr(list(value) if isinstance(value, tuple) else value)
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise PipelineError(f"{value!r} is not plain data, which source can hold") from None
    return text


def _check_names(module: Module) -> None:
    names = [module.name, *module.input_fields, *map(module.pipeline_field, module.input_fields)]
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise PipelineError(f"{name!r} can't be a name in Python")


def _by_name(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
