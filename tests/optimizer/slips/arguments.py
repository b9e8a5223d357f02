"""Slips in the arguments of `optimize` and of the classes that it takes."""

from __future__ import annotations

from functools import partial
from typing import Any

import dspy

from evaluators.metrics import exact_match, llm_judge
from evaluators.objective import Objective
from evaluators.score_table import ScoreTable
from optimizer.loop import optimize
from optimizer.stages.allocation.stage import Allocation
from optimizer.stages.prompts import Prompts
from pipelines import Module, Pipeline
from pipelines.aggregators.notation import parse_network
from pipelines.gateway.budget import Budget
from pipelines.gateway.concurrency.limits import Limit
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.patterns import locate_solve
from search_spaces import AggregatorConfig, MemberConfig, ModuleConfig, PipelineConfig, SearchSpace
from tests.optimizer.runs import MODELS, ROWS, tune
from tests.optimizer.slips.slip import Slip, slip, tuning

KEY = "sk-proj-1234567890abcdef"


class Nameless:
    def improve(self, state: Any) -> None:
        pass


def plain(question: str) -> str:
    return question


class Program(dspy.Module):
    pass


_ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"metric": "exact_mach"}, "no metric 'exact_mach'; nearest: 'exact_match'"),
    ({"stages": ("alocation",)}, "there is no stage 'alocation'; nearest: 'allocation'"),
    ({"stages": "alocation"}, "there is no stage 'alocation'; nearest: 'allocation'"),
    ({"stages": []}, "stages must name at least one stage, but got [] (stages: allocation, st"),
    ({"stages": None}, "stages must name at least one stage, but got None"),
    ({"stages": {"allocation"}}, "stages must name at least one stage, but got {'allocation'}"),
    ({"stages": [Nameless()]}, "a stage has a `name`"),
    ({"stages": [["structure"]]}, "there is no stage ['structure']; nearest: 'structure'"),
    (
        {"search_space": SearchSpace(models={"solv": ("sim/alder",)})},
        "search_space, models: 'solv' is no module that asks a model; nearest: 'solve'",
    ),
    (
        {"search_space": SearchSpace(models={"solve": ("sim/aldr",)})},
        "'sim/aldr' is not among the models given to optimize: add it to `models`",
    ),
    (
        {"search_space": SearchSpace(models={"solve": ()})},
        "gives module 'solve' no model to choose",
    ),
    (
        {"search_space": SearchSpace(aggregator=("first_to_finish(count=4)",), width=(1, 2, 3))},
        "none of the widths [2, 3] fits 'first_to_finish': ",
    ),
    (
        {"search_space": SearchSpace(aggregator=("filter_cluster",))},
        "none of the widths [3, 5] fits 'filter_cluster': ",
    ),
    (
        {
            "search_space": SearchSpace(
                aggregator=(
                    AggregatorConfig(
                        name="judge",
                        modules={
                            "judge": ModuleConfig(
                                models=MODELS[:1], width=3, aggregator="majority_vot"
                            )
                        },
                    ),
                )
            )
        },
        "unknown aggregator 'majority_vot'; nearest: 'majority_vote'",
    ),
    (
        {"search_space": SearchSpace(instructions={"solv": ("Solve it.",)})},
        "search_space, instructions: 'solv' is no module that asks a model; nearest: 'solve'",
    ),
    ({"search_space": {"solve": ["sim/alder"]}}, "search_space must be a SearchSpace"),
    ({"budget": 5}, "budget must be a Budget, such as Budget(usd=5"),
    ({"pipeline": "question -> answer"}, "pipeline must be a Pipeline"),
    ({"models": []}, "models must name at least one model"),
    ({"models": None}, "pipeline 'locate-solve' names none"),
    ({"models": ["sim/alder", "sim/alder"]}, "'sim/alder' is given twice"),
    ({"models": ["sim/alder", None]}, "models must name a model, such as 'openai/gpt-4o-mini'"),
    ({"models": {"solve": ["sim/alder"]}}, "choices by module go into SearchSpace(models=...)"),
    ({"models": {"sim/alder"}}, "models must be a list, such as ['openai/gpt-4o-mini', Model("),
    ({"models": 5}, "models must be a list, such as ['openai/gpt-4o-mini', Model(...)]"),
    ({"diagnoser": 5}, "diagnoser must name a model, such as 'openai/gpt-4o-mini'"),
    ({"diagnoser": ["sim/alder"]}, "diagnoser must name a model, such as"),
    ({"diagnoser": "Auto"}, "diagnoser must be a model, 'auto' or None, but got 'Auto'"),
    ({"diagnoser": "none"}, "diagnoser must be a model, 'auto' or None, but got 'none'"),
    ({"objective": "qualty"}, "but got 'qualty'; nearest: 'quality'"),
    ({"objective": {"within": 0.01}}, "objective must be 'quality', 'pareto', or an Objec"),
    ({"seed": None}, "`seed >= 0` must hold (a whole number), but got None"),
    ({"seed": -1}, "`seed >= 0` must hold (a whole number), but got -1"),
    ({"holdout": "0.3"}, "`0 <= holdout < 1` must hold (a fraction), but got '0.3'"),
    ({"experiment": 3}, "experiment must be a name that is not blank, but got 3"),
    ({"experiment": " "}, "experiment must be a name that is not blank, but got ' '"),
    ({"concurrency": 0}, "`concurrency >= 1` must hold (a whole number), but got 0"),
    ({"concurrency": 2.5}, "but got 2.5"),
    ({"holdout": 1}, "`0 <= holdout < 1` must hold (a fraction), but got 1"),
    ({"holdout": -0.1}, "`0 <= holdout < 1` must hold (a fraction), but got -0.1"),
    ({"holdout": 30}, "`0 <= holdout < 1` must hold (a fraction), but got 30"),
    ({"holdout": float("nan")}, "`0 <= holdout < 1` must hold (a fraction), but got nan"),
    ({"budget": Budget(calls=25)}, "a budget of 25 calls is too small"),
]
_FIELDS: list[tuple[type, dict[str, Any], str]] = [
    (Budget, {"call": 5}, "Budget has no 'call'; nearest: 'calls' (it has usd, calls, seconds"),
    (Limit, {"concurency": 5}, "Limit has no 'concurency'; nearest: 'concurrency' (it has con"),
    (Gateway, {"retrys": 5}, "Gateway has no 'retrys'; nearest: 'retries' (it has cache, limi"),
    (Model, {"maxtokens": 5}, "Model has no 'maxtokens'; nearest: 'max_tokens' (it has name"),
    (Module, {"instruction": "x"}, "Module has no 'instruction'; nearest: 'instructions' (it"),
    (Pipeline, {"output": ["x"]}, "Pipeline has no 'output'; nearest: 'outputs' (it has name"),
    (ScoreTable, {"share": True}, "ScoreTable has no 'share'; nearest: 'shared' (it has sc"),
    (AggregatorConfig, {"param": {}}, "AggregatorConfig has no 'param'; nearest: 'params' (it"),
    (MemberConfig, {"demo": ()}, "MemberConfig has no 'demo'; nearest: 'demos' (it has model"),
    (ModuleConfig, {"modles": ()}, "ModuleConfig has no 'modles'; nearest: 'models' (it has"),
    (PipelineConfig, {"module": {}}, "PipelineConfig has no 'module'; nearest: 'modules' (it"),
    (Limit, {"requests_per_minute": True}, "must be a valid number, but got True"),
    (ModuleConfig, {"width": True}, "ModuleConfig(width=...) must be a valid integer, but got"),
    (MemberConfig, {"temperature": 1}, "MemberConfig(model=...) is missing"),
    (
        Model,
        {"name": "m", "max_tokens": 0},
        "Model(max_tokens=...) must be greater than or equal to 1, but got 0",
    ),
    (Budget, {"minutes": 5}, "Budget has no 'minutes': seconds=60 * minutes (it has usd, calls"),
    (Budget, {"dollars": 5}, "Budget has no 'dollars': usd=... (it has"),
    (
        Budget,
        {"usd": "5"},
        "Budget(usd=...) must be a finite number above 0, or None for no cap, but got '5'",
    ),
    (
        Budget,
        {"usd": -1},
        "Budget(usd=...) must be a finite number above 0, or None for no cap, but ",
    ),
    (
        Budget,
        {"calls": 1e4},
        "Budget(calls=...) must be a whole number above 0, or None for no cap",
    ),
    (Model, {"name": ""}, "Model(name=...): it must name a model, such as 'openai/gpt-4o-mini'"),
    (Model, {"name": " openai/x"}, "it must have no spaces around it: 'openai/x'"),
    (
        Model,
        {"name": "openai/x", "api_key": KEY},
        "Model has no 'api_key': put the key into an environment variable and name that: api_",
    ),
    (
        Model,
        {"name": "openai/x", "api_key_env": KEY},
        "it must be the name of an environment variable, such as 'OPENAI_API_KEY', and never ",
    ),
    (Model, {"name": "groq/x", "api_key_env": "gsk_1234567890abcdefghij"}, "never the key itself"),
    (
        Model,
        {"name": "openai/x", "base_url": "http://h/v1"},
        "Model has no 'base_url': the address is a field: Model(..., api_base=...)",
    ),
    (
        Model,
        {"name": "openai/x", "api_base": "localhost:8000/v1"},
        "Model(api_base=...): it must begin with http:// or https://, as http://localhost:800",
    ),
    (
        Model,
        {"name": "openai/x", "api_base": f"http://h/v1?api_key={KEY}"},
        "an address may hold no key and no password; put it into an environment variable",
    ),
    (
        Model,
        {"name": "openai/x", "temperature": 0.2},
        "Model has no 'temperature': the temperature is a knob: Module(..., temperature=...)",
    ),
    (
        Model,
        {"name": "openai/x", "params": {"temperature": 0.2}},
        "params may not hold 'temperature': the temperature is a knob: Module(..., temperatur",
    ),
    (
        Model,
        {"name": "openai/x", "params": {"max_tokens": 9}},
        "params may not hold 'max_tokens': it bounds what a call costs, so it is a field: Model(",
    ),
    (Model, {"name": "openai/x", "params": {"n": 3}}, "for more, give the module a width"),
    (Model, {"name": "openai/x", "params": {"api_key": KEY}}, "name it: Model(..., api_key_env="),
    (
        Model,
        {"name": "openai/x", "input_usd_per_million": -1.0},
        "Model(input_usd_per_million=...) must be greater than or equal to 0, but got -1.0",
    ),
    (
        Objective,
        {"max_cost": 1},
        "Objective has no 'max_cost'; nearest: 'max_cost_usd' (it has max_",
    ),
    (
        Objective,
        {"max_cost_usd": -1},
        "Objective(max_cost_usd=...) must be greater than 0, but got",
    ),
    (Objective, {"within": 5}, "`0 <= within < 1` must hold (0.01 is one point), but got 5"),
    (
        Objective,
        {"within": 0.01, "of": "baseline"},
        "Objective(of=...) must be 'best' or 'single_model', but got 'baseline'; nearest: 'si",
    ),
    (
        SearchSpace,
        {"width": (0,)},
        "SearchSpace(width=...) must be greater than or equal to 1, but ",
    ),
    (SearchSpace, {"temperature": (3.0,)}, "must be less than or equal to 2, but got 3.0"),
    (SearchSpace, {"temperatures": (1.0,)}, "SearchSpace has no 'temperatures'; nearest: 'tempera"),
    (
        SearchSpace,
        {"models": ["sim/alder"]},
        "SearchSpace(models=...): goes by module, such as {'solve': ...}, but got ['sim/alder']",
    ),
    (
        Module,
        {"name": "solve", "signature": "a -> b", "prompt": "x"},
        "Module has no 'prompt': instructions='...' (it has name, signature",
    ),
    (Module, {"name": "solve"}, "Module(signature=...) is missing (it has name, signature, instr"),
    (
        Module,
        {"name": "solve", "signature": "question, answer"},
        "module 'solve': bad signature 'question, answer': it must have exactly one '->', but",
    ),
    (Module, {"name": "solve", "signature": "question ->"}, "at least one output after '->'"),
    (Module, {"name": "solve", "signature": "a -> a"}, "name each field once, but names 'a' more"),
    (
        Module,
        {"name": "so.lve", "signature": "a -> b"},
        "'so.lve': a module's name must be an iden",
    ),
    (Module, {"name": "question -> answer", "signature": "solve"}, "such as 'solve'"),
    (
        Module,
        {"name": "solve", "signature": "a: string -> b"},
        "DSPy cannot read it (types are Python's: str, int, float, bool, list[str], Literal['",
    ),
    (
        Module,
        {"name": "solve", "signature": "a -> b", "strategy": "cot"},
        "strategy must be one of predict, chain_of_thought, but got 'cot'; nearest: 'predict'",
    ),
    (
        Module,
        {"name": "solve", "signature": "a -> b", "temperature": 5},
        "module 'solve': 0 <= temperature <= 2 must hold, but got 5",
    ),
    (
        Module,
        {"name": "solve", "signature": "a -> b", "reply_format": "yaml"},
        "reply_format must be one of chat, json, xml, but got 'yaml'; nearest: 'xml'",
    ),
    (
        Module,
        {"name": "solve", "signature": "question -> answer", "demos": [{"anwser": "b"}]},
        "a demo has the unknown field 'anwser'; nearest: 'answer'",
    ),
    (
        Module,
        {"name": "up", "signature": "word -> loud", "function": "upper"},
        "function 'upper' must read 'package.module:name'",
    ),
    (
        Module,
        {"name": "up", "signature": "word -> loud", "function": plain},
        "must take the arguments (word): missing a required argument",
    ),
    (Pipeline, {"name": "x"}, "Pipeline(modules=...) is missing (it has name, modules, outputs"),
    (Pipeline, {"name": "x", "modules": []}, "a pipeline needs at least one module"),
    (Pipeline, {"name": "x", "modules": Module("solve", "a -> b")}, "put it in [ ]"),
    (Pipeline, {"name": "x", "modules": ["a -> b"]}, "modules must be Modules, but got 'a -> b'"),
    (
        Pipeline,
        {"name": "x", "modules": [Module("a", "q -> b"), Module("a", "b -> c")]},
        "modules must have distinct names, but two are called 'a'",
    ),
    (
        Pipeline,
        {"name": "x", "modules": [Module("a", "q -> b"), Module("c", "q -> b")]},
        "each field must have one writer, but modules 'a' and 'c' both write 'b'; give one of",
    ),
    (
        Pipeline,
        {"name": "x", "modules": [Module("a", "q -> answer")], "outputs": ["anwser"]},
        "no module writes the output 'anwser'; nearest: 'answer'",
    ),
    (
        Pipeline,
        {
            "name": "x",
            "modules": [Module("solve", "q -> a")],
            "config": PipelineConfig(modules={"slove": ModuleConfig(models=("a",))}),
        },
        "config has the unknown module 'slove'; nearest: 'solve'",
    ),
    (
        Pipeline,
        {
            "name": "x",
            "modules": [Module("solve", "q -> a")],
            "config": PipelineConfig(
                modules={"solve": ModuleConfig(models=("a", "b"), aggregator="majority_vote")}
            ),
        },
        "config of module 'solve': needs 1 model, but got ['a', 'b']; width=2 asks all of them",
    ),
    (ModuleConfig, {"model": "a"}, "ModuleConfig has no 'model'; nearest: 'models' (it has models"),
    (
        ModuleConfig,
        {"models": "sim/alder"},
        "ModuleConfig(models=...) must be a valid tuple, such as ('sim/alder',), but got 'sim",
    ),
    (
        ModuleConfig,
        {"width": 0},
        "ModuleConfig(width=...) must be greater than or equal to 1, but ",
    ),
    (ModuleConfig, {"temperature": -1}, "must be greater than or equal to 0, but got -1"),
    (Gateway, {"timeout": 5}, "Gateway has no 'timeout'; nearest: 'timeout_s' (it has cache, limi"),
    (Gateway, {"limits": {"openai": 5}}, "limits['openai'] must be a Limit(...), but got 5"),
    (Limit, {"rpm": 5}, "Limit has no 'rpm'; nearest: 'requests_per_minute' (it has concurrency"),
    (
        Allocation,
        {"strategy": "greedy"},
        "no strategy 'greedy'; nearest: 'random' (strategies: def",
    ),
    (Prompts, {"optimizer": "miprov2"}, "no prompt optimizer 'miprov2'; nearest: 'mipro' (optim"),
]
_MODELS: list[tuple[str, str]] = [
    ("hazel", "no provider is known for model 'hazel'; nearest: 'sim/hazel'"),
    ("sim/aldr", "there is no simulated model 'sim/aldr'; nearest: 'sim/alder'"),
    ("nobody/gpt-4o", "no provider is known for model 'nobody/gpt-4o'"),
    ("gpt-nobody-knows", "no provider is known for model 'gpt-nobody-knows'"),
    ("openai/gpt-4o-minni", "openai/gpt-4o-mini"),
    ("gpt-4o-minni", "(nearest known: 'openai/gpt-4o-mini'); names are 'provider/model', such as"),
    ("google/gemini-2.5-flash", "(nearest known: 'gemini/gemini-2.5-flash'); names are 'provider/"),
    (
        "openai:gpt-4o-mini",
        "no provider is known for model 'openai:gpt-4o-mini' (nearest known: 'op",
    ),
    (
        "anthropic/claude-haiku-4.5",
        "no price is known for model 'anthropic/claude-haiku-4.5' (neare",
    ),
    ("anthropic/claude-haiku-4.5", "needs an API key: set ANTHROPIC_API_KEY"),
    ("gemini/gemini-2.5-flash", "needs an API key: set GOOGLE_API_KEY or GEMINI_API_KEY"),
    ("azure/mine", "set AZURE_API_BASE and AZURE_API_VERSION and AZURE_API_KEY"),
    (
        "azure/mine",
        "no price is known for model 'azure/mine'; give it: Model('azure/mine', input_us",
    ),
]


def _optimized(**arguments: Any) -> Any:
    return optimize(locate_solve(), ROWS, MODELS, **arguments)


SLIPS: list[Slip] = [
    *(tuning(f"optimize({given})", words, **given) for given, words in _ARGUMENTS),
    *(
        slip(f"{kind.__name__}({given}) {words[:9]}", partial(kind, **given), words)
        for kind, given, words in _FIELDS
    ),
    *(
        tuning(f"models={name!r}: {words[:20]}", words, models=["sim/alder", name])
        for name, words in _MODELS
    ),
    tuning(
        "pipeline and dataset swapped",
        "optimize(pipeline, dataset, models) takes the pipeline",
        "but got a Pipeline as the dataset",
        dataset=locate_solve(),
        pipeline=ROWS,
    ),
    slip(
        "model= for models=",
        partial(_optimized, model="sim/alder"),
        "optimize has no 'model'; nearest: 'models' (it has pipeline, dataset, models",
    ),
    slip(
        "trainset= for dataset=",
        partial(_optimized, trainset=ROWS),
        "optimize has no 'trainset'; nearest: 'dataset'",
    ),
    tuning(
        "a class for a pipeline",
        "pipeline must be a Pipeline",
        "give an instance, such as Program()",
        pipeline=Program,
    ),
    tuning(
        "a function for a pipeline",
        "from_callable(factory, ['module', ...]) takes a function",
        pipeline=plain,
    ),
    tuning(
        "a path for a pipeline",
        "but got 'p.yaml'",
        "Pipeline.load(path) reads a file",
        pipeline="p.yaml",
    ),
    tuning(
        "a list for a pipeline",
        "Pipeline('name', [...]) has a list",
        pipeline=[Module("a", "b -> c")],
    ),
    tuning(
        "a DSPy signature for a pipeline",
        "dspy.Predict(signature) makes a program",
        pipeline=dspy.Signature("question -> answer"),
    ),
    tuning(
        "models in one text",
        "models must be a list, such as ['sim/alder', 'sim/birch'], but got",
        "'sim/alder,sim/birch'",
        models="sim/alder,sim/birch",
    ),
    tuning(
        "a dict for a model",
        "models must name a model, such as 'openai/gpt-4o-mini' or Model(...), but",
        "got {'name': 'a'}",
        models=[{"name": "a"}],
    ),
    tuning(
        "stages in one text",
        "stages must be a list, such as ['allocation', 'prompts'], but got",
        "'allocation,prompts'",
        stages="allocation,prompts",
    ),
    tuning(
        "what a stage tunes",
        "there is no stage 'models'; nearest: 'allocation' (stages: alloc",
        stages="models",
    ),
    tuning("a knob for a stage", "no stage 'width'; nearest: 'structure'", stages=["width"]),
    tuning(
        "a share in percent",
        "`0 <= holdout < 1` must hold (a fraction), but got '20%'",
        holdout="20%",
    ),
    tuning(
        "on_trial that is none", "on_trial must be a function of one trial, but got 5", on_trial=5
    ),
    tuning(
        "a misspelt aggregator",
        "unknown aggregator 'majority'; nearest: 'majority_vote'",
        search_space=SearchSpace(aggregator=("majority",)),
    ),
    tuning(
        "a network without x",
        "expected members as in '3x a'",
        "found '3 sim/alder -> majority",
        search_space=SearchSpace(network={"solve": ("3 sim/alder -> majority_vote",)}),
    ),
    tuning(
        "a vote of no kind",
        "unknown aggregator 'vote'; nearest: 'majority_vote' (aggregators: majority_vote, filter_",
        search_space=SearchSpace(aggregator=("vote",)),
    ),
    slip(
        "a network that is none",
        partial(parse_network, "3x a -> vote"),
        "unknown aggregator 'vote'",
        "nearest: ",
    ),
    tuning(
        "another library's metric",
        "there is no metric 'accuracy'; nearest: 'exact_match' (metr",
        metric="accuracy",
    ),
    tuning("a number for a metric", "a metric is a name (exact_match", "but got 0.5", metric=0.5),
    tuning(
        "a metric of one argument",
        "must be callable as metric(example, prediction)",
        metric=lambda prediction: 1,
    ),
    tuning(
        "a metric of another field",
        "compares the output 'anwser', but there is none of that name; nearest:",
        "'answer' (outputs: answer)",
        metric=exact_match(field="anwser"),
    ),
    slip(
        "a column without a field",
        lambda: tune(metric=exact_match(column="label")),
        "one column for each field is needed, as in exact_match(field='answer',",
        "column='label')",
    ),
    tuning(
        "numbers wanted, text there",
        "metric 'numeric_match' on example 0: column 'answer': the label 'abc' has no",
        "number",
        dataset=[{**row, "answer": "abc"} for row in ROWS],
        metric="numeric_match",
    ),
    slip(
        "a judge without a rubric", partial(llm_judge, ""), "llm_judge(rubric) must say in words wh"
    ),
    slip(
        "an input that is missing",
        lambda: locate_solve()(table="x"),
        "pipeline 'locate-solve' needs the input 'question' (inputs: table, question)",
    ),
    slip(
        "an input that is misspelt",
        lambda: locate_solve()(table="x", queston="y"),
        "has no input 'queston'; nearest: 'question' (inputs: table, question)",
    ),
    slip(
        "inputs by place",
        lambda: locate_solve()("x"),
        "inputs go by name: pipeline(table=..., question=...), but got 'x'",
    ),
    slip(
        "a pipeline without models",
        lambda: locate_solve()(table="x", question="y"),
        "module 'locate' names no model; give it one, as in Module('locate', 'table,",
        "question ->",
    ),
    slip("a dataset that is no dataset", lambda: tune(5), "but got a int"),
]
