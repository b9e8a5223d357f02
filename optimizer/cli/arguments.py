"""The arguments of `compound-optimizer`, and its exit codes."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any, NoReturn

from optimizer.version import library_version

FAILED, WRONG_INPUT, UNMET, TOO_LOW, SIGNALLED = 1, 2, 3, 4, 128
"""The last one and the number of the signal."""

_EXIT_CODES = (
    f"Exit codes: 0 done; {FAILED} the run, or a row of it, failed; {WRONG_INPUT} the input is "
    f"wrong; {UNMET} what was found, and saved, does not meet the limits on cost or latency; "
    f"{TOO_LOW} the score is below --min-score, or has dropped by more than --max-drop; "
    f"{SIGNALLED + 2} after ctrl-C, {SIGNALLED + 15} after SIGTERM, {SIGNALLED + 1} after SIGHUP."
)
_ALLOW_CODE = "import the functions that the file names, which runs them; if you trust it"
_PROGRAM = "of the DSPy program that the file was tuned for, where it needs to be given one"
_TARGET = (
    "a pipeline in YAML, or module:object of Python in this folder: a Pipeline, a DSPy program, or "
    "a function that returns one"
)
_DATASET = "labelled examples: .jsonl, .json, .csv or .parquet"
_MODELS = "litellm names, or labels of the pipeline's own models (which are the default)"
_METRICS = "exact_match (the default), contains, numeric_match, f1 or multiple_choice"
_JSON = "print figures as JSON, and nothing else, on stdout"
_RUN = (
    "Write outputs as JSON. Each prediction carries its confidence, the share of members that "
    "agreed: in every line for --dataset; for --input on stderr, where a module has members."
)
_FINISHED = "id of a run in MLflow (the latest that finished)"


class _Parser(argparse.ArgumentParser):
    """Adds to an error the nearest valid name."""

    def error(self, message: str) -> NoReturn:
        """Print usage and the error, and exit with 2."""
        from search_spaces.refusals import nearest  # late: it imports pydantic

        commands: Any = next((a.choices for a in self._actions if a.dest == "command"), {})
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown.startswith("-"):
            options = [name for each in commands.values() for name in each._option_string_actions]
            message += nearest(unknown.split()[0], options)
        elif unknown != message:
            message += "; several models are separated by commas: --models A,B"
        wrong = re.search(r"argument COMMAND: invalid choice: '(.*?)'", message)
        super().error(message + (nearest(wrong[1], commands) if wrong else ""))


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; `options.command` is the one that was given."""
    root = _Parser(
        prog="compound-optimizer",
        description="Find a better model for every module of an LLM pipeline, within a budget.",
        epilog=_EXIT_CODES,
    )
    root.add_argument("--debug", action="store_true", help="show where an error comes from")
    root.set_defaults(json=False)
    root.add_argument("--version", action="version", version=f"%(prog)s {library_version()}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add, function, text in (
        (_add_demo, "first_steps:demo", "tune a small pipeline of simulated models, free"),
        (_add_init, "first_steps:init", "write a pipeline, ten rows and a script to begin with"),
        (_add_estimate, "tune:estimate", "what optimize would take, without any call"),
        (_add_optimize, "tune:optimize", "tune a pipeline on labelled examples"),
        (_add_evaluate, "evaluate:evaluate", "score a pipeline on examples; tunes nothing"),
        (_add_run, "run:run", "run a pipeline on one input, or on a file of rows"),
        (_add_label, "label:label", "choose the rows to label next"),
        (_add_serve, "service:serve", "serve a pipeline as a model API, or a search service"),
        (_add_export, "export:export", "write a pipeline in a form that other programs run"),
        (_add_show, "show:show", "show a finished run or a saved pipeline"),
        (_add_report, "show:report", "write the page of a finished run"),
        (_add_diff, "diff:diff", "what differs between two pipelines, prompts line by line"),
        (_add_worker, "service:worker", "run searches of a service"),
        (_add_submit, "service:submit", "submit a search to a service"),
        (_add_client, "service:searches", "list the searches of a service"),
        (_add_one, "service:watch", "follow a search of a service"),
        (_add_one, "service:stop", "stop a search of a service"),
        (_add_one, "service:resume", "go on with a search that was stopped or failed"),
        (_add_result, "service:result", "wait for the result of a search, and save it"),
    ):
        about = _RUN if add is _add_run else f"{text[0].upper()}{text[1:]}."
        name = function.rpartition(":")[2]
        command = commands.add_parser(name, help=text, description=about, epilog=_EXIT_CODES)
        command.set_defaults(function=function)
        add(command)
    return root


def _add_demo(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    calls, folder = "most calls, none of them paid (10000)", "mlruns/demo"
    add("--calls", type=int, default=10000, metavar="N", help=calls)
    add("--examples", type=int, default=120, metavar="N", help="made-up examples (120)")
    add("--seed", type=int, default=0, metavar="N", help="of examples and search (0)")
    add(
        "--folder", default=folder, metavar="PATH", help=f"of tuned.yaml and report.html ({folder})"
    )
    add("--json", action="store_true", help=_JSON)


def _add_init(command: argparse.ArgumentParser) -> None:
    folder = "target folder, created if missing"
    command.add_argument("folder", nargs="?", default=".", metavar="FOLDER", help=folder)


def _add_optimize(command: argparse.ArgumentParser) -> None:
    _add_estimate(command)
    add = command.add_argument
    add("--save", default="tuned.yaml", metavar="PATH", help="the tuned pipeline (tuned.yaml)")
    add("--report", metavar="PATH.html", help="a page of figures and plots")
    dask = "address of a Dask scheduler, whose workers make the calls: tcp://HOST:8786"
    add("--dask", metavar="ADDRESS", help=dask)


def _add_code(add: Callable[..., object]) -> None:
    """How code that a pipeline in YAML names is found."""
    add("--allow-code", action="store_true", help=_ALLOW_CODE)
    add("--program", metavar="MODULE:OBJECT", help=_PROGRAM)


def _add_estimate(command: argparse.ArgumentParser) -> None:
    _add_search(command)
    _add_code(command.add_argument)
    start = "go on from an earlier result: only models new to it"
    command.add_argument("--start", metavar="TUNED.yaml", help=start)


def _add_search(command: argparse.ArgumentParser) -> None:
    """The arguments of `optimize`, `estimate` and `submit`."""
    add = command.add_argument
    holdout = "share of the examples that the search never sees (0.3)"
    diagnoser = (
        "the model that judges modules, auto for the best single model (the default), or none"
    )
    stages = "what to tune: allocation (models), structure (widths, ...), prompts; all by default"
    strategy = "how models are searched: default, llmselector, halving, exhaustive, random or tpe"
    prompts = "which of DSPy's optimizers writes prompts: gepa, mipro, copro, bootstrap or auto"
    space = "choices by knob, as SearchSpace(...) takes them: `width: [1, 3]`"
    pareto = (
        "look for the front of quality, cost and latency; the limits below select the saved "
        "point; default: best score"
    )
    within = (
        "the cheapest within this much of the best score that meets the limits: 0.01 is a point"
    )
    of = "single_model: --within counts from the best single model; else from the best of all"
    _add_scoring(command)
    add("--search-space", metavar="FILE.yaml", help=space)
    add("--stages", default="allocation,structure,prompts", metavar="A,B", help=stages)
    add("--strategy", default="default", metavar="NAME", help=strategy)
    add("--prompt-optimizer", default="auto", metavar="NAME", help=prompts)
    add("--pareto", action="store_true", help=pareto)
    add("--max-cost-usd", type=float, metavar="X", help="most dollars per example")
    add("--max-latency-s", type=float, metavar="X", help="most seconds per example")
    add("--max-latency-p95-s", type=float, metavar="X", help="most seconds in 95%% of the examples")
    add("--within", type=float, metavar="X", help=within)
    add("--of", choices=("best", "single_model"), default="best", help=of)
    add("--holdout", type=float, default=0.3, metavar="X", help=holdout)
    add("--seed", type=int, default=0, metavar="N", help="decides every draw (0)")
    add("--experiment", metavar="NAME", help="MLflow experiment (the pipeline's name)")
    add("--diagnoser", default="auto", metavar="MODEL", help=diagnoser)


def _add_scoring(command: argparse.ArgumentParser) -> None:
    """The arguments of all commands that score examples."""
    add = command.add_argument
    add("pipeline", metavar="PIPELINE", help=_TARGET)
    add("dataset", metavar="DATASET", help=_DATASET)
    add("--models", action="append", default=[], metavar="A,B,C", help=_MODELS)
    add("--metric", default="exact_match", metavar="NAME", help=_METRICS)
    _add_caps(add)
    add("--concurrency", type=int, default=32, metavar="N", help="most examples in flight (32)")
    add("--json", action="store_true", help=_JSON)


def _add_caps(add: Callable[..., object]) -> None:
    """The budget."""
    add("--budget-usd", type=float, metavar="X", help="most dollars")
    add("--budget-calls", type=int, metavar="N", help="most calls")
    add("--budget-seconds", type=float, metavar="X", help="most seconds")


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    _add_scoring(command)
    _add_code(command.add_argument)
    lowest = f"end with {TOO_LOW} if the score is below it, as in --min-score 0.8"
    drop = (
        f"end with {TOO_LOW} if the scores are shown to be lower by more than it than the held-out "
        "ones that the file records: 0 for any drop, 0.02 for 2 points"
    )
    strata = "the column of agreement that label wrote, for a narrower interval"
    add = command.add_argument
    add("--min-score", type=float, metavar="X", help=lowest)
    add("--max-drop", type=float, metavar="X", help=drop)
    add("--strata", metavar="COLUMN", help=strata)


def _add_label(command: argparse.ArgumentParser) -> None:
    command.set_defaults(json=True)  # as all that it prints
    add = command.add_argument
    models = "others to ask on every row; not needed where a module has several members"
    labelled = "rows that have labels already, and are not chosen again"
    add("pipeline", metavar="PIPELINE.yaml", help="what the labels are to measure")
    add("dataset", metavar="DATASET", help="rows without labels, as for run --dataset")
    _add_code(add)
    add("--count", type=int, default=20, metavar="N", help="how many rows (20)")
    add("--models", action="append", default=[], metavar="A,B,C", help=models)
    add("--labelled", metavar="DATASET", help=labelled)
    add("--output", metavar="PATH", help="where the rows go, as JSON lines (the terminal)")
    add("--seed", type=int, default=0, metavar="N", help="decides the draw (0)")
    _add_caps(add)
    add("--concurrency", type=int, default=32, metavar="N", help="most runs in flight (32)")


def _add_run(command: argparse.ArgumentParser) -> None:
    command.set_defaults(json=True)  # as all that it prints
    add = command.add_argument
    add("pipeline", metavar="PIPELINE.yaml", help="what to run")
    _add_code(command.add_argument)
    value = "one input; FIELD=@PATH reads the value from a file"
    rows = command.add_mutually_exclusive_group(required=True)
    rows.add_argument("--input", nargs="+", action="extend", metavar="FIELD=VALUE", help=value)
    rows.add_argument("--dataset", metavar="PATH", help="many: .jsonl, .json, .csv or .parquet")
    add("--output", metavar="PATH", help="where outputs go, as JSON lines (the terminal)")
    add("--concurrency", type=int, default=16, metavar="N", help="most rows in flight (16)")


def _add_export(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    docker = "a new folder with a Dockerfile of an image that serves it"
    proxy = "a configuration of litellm's proxy: its models with fallbacks, and the served pipeline"
    chats = "chats to fine-tune each module's model on, from examples that it gets right"
    dspy = "a DSPy program: .py for a pipeline of modules, .json for a DSPy program"
    add("file", metavar="FILE", help="a pipeline in YAML, such as tuned.yaml")
    _add_code(add)
    form = command.add_mutually_exclusive_group(required=True)
    form.add_argument("--docker", metavar="FOLDER", help=docker)
    form.add_argument("--litellm-proxy", metavar="FILE.yaml", help=proxy)
    form.add_argument("--dspy", metavar="FILE", help=dspy)
    form.add_argument("--finetune", metavar="FOLDER", help=chats)
    add = command.add_argument_group("of --finetune").add_argument
    least = "lowest score of an example to learn from (1)"
    add("--dataset", metavar="DATASET", help=f"{_DATASET}; those held out are left out")
    add("--min-score", type=float, default=1.0, metavar="X", help=least)
    add("--metric", default="exact_match", metavar="NAME", help=_METRICS)
    _add_caps(add)


def _add_show(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("run", nargs="?", metavar="RUN", help=f"{_FINISHED}, or a saved tuned.yaml")
    add("--experiment", metavar="NAME", help="where to look for the latest")
    add("--examples", type=int, default=10, metavar="N", help="most gained and lost examples (10)")
    add("--json", action="store_true", help=_JSON)


def _add_report(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("run", nargs="?", metavar="RUN", help=_FINISHED)
    add("--experiment", metavar="NAME", help="where to look for the latest")
    add("--output", default="report.html", metavar="PATH.html", help="the page (report.html)")


def _add_diff(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("before", metavar="A.yaml", help="a pipeline, given or tuned")
    add("after", metavar="B.yaml", help="another one")
    add("--allow-code", action="store_true", help=_ALLOW_CODE)
    add("--json", action="store_true", help=_JSON)


def _add_worker(command: argparse.ArgumentParser) -> None:
    _add_queue(command.add_argument)
    command.add_argument("--parent", type=int, help=argparse.SUPPRESS)


def _add_queue(add: Callable[..., object]) -> None:
    database = "COMPOUND_OPTIMIZER_DATABASE, or sqlite:///mlruns/service.db"
    allow = "a folder whose Python may be run, and whose files may be read; may be repeated"
    lease = "after which a search passes from a worker that is silent to another one (20)"
    add("--database", metavar="URL", help=f"sqlite:///PATH or postgresql://... ({database})")
    add("--allow", action="append", default=[], metavar="FOLDER", help=allow)
    add("--lease-seconds", type=float, default=20.0, metavar="X", help=lease)


def _add_serve(command: argparse.ArgumentParser) -> None:
    file = "a pipeline in YAML, such as tuned.yaml; without one, a search service is run"
    command.add_argument("file", nargs="?", metavar="FILE", help=file)
    add = command.add_argument
    add("--host", default="127.0.0.1", metavar="NAME", help="where to listen (127.0.0.1)")
    add("--port", type=int, metavar="N", help="where to listen (8000; a search service 8765)")
    add = command.add_argument_group("of a model API").add_argument
    _add_code(add)
    add("--usd-per-hour", type=float, metavar="X", help="most dollars per hour of the clock")
    add("--calls-per-hour", type=int, metavar="N", help="most calls of models per hour")
    add = command.add_argument_group("of a search service").add_argument
    _add_queue(add)
    tokens = "users: name, sha256 of the token, usd, calls; without it, one token is made"
    models = "models with an address or a key of their own, as a pipeline's `models`"
    add("--workers", type=int, default=1, metavar="N", help="processes that run searches (1)")
    add("--tokens", metavar="FILE.yaml", help=tokens)
    add("--models", metavar="FILE.yaml", help=models)
    add("--most-megabytes", type=float, default=32.0, metavar="X", help="of one request (32)")


def _add_submit(command: argparse.ArgumentParser) -> None:
    _add_search(command)
    _add_service(command)
    folder = "a folder of the service: PIPELINE is a file or module:object in it"
    command.add_argument("--folder", metavar="NAME", help=folder)


def _add_client(command: argparse.ArgumentParser) -> None:
    _add_service(command)
    command.add_argument("--json", action="store_true", help=_JSON)


def _add_one(command: argparse.ArgumentParser) -> None:
    command.add_argument("search", metavar="SEARCH", help="its id, as submit prints it")
    _add_client(command)


def _add_result(command: argparse.ArgumentParser) -> None:
    _add_one(command)
    add = command.add_argument
    add("--save", default="tuned.yaml", metavar="PATH", help="the tuned pipeline (tuned.yaml)")
    add("--report", metavar="PATH.html", help="a page of figures and plots")


def _add_service(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    url = "of the service (COMPOUND_OPTIMIZER_URL, or http://127.0.0.1:8765)"
    add("--url", metavar="URL", help=url)
    add("--token", metavar="TOKEN", help="COMPOUND_OPTIMIZER_TOKEN, which other users can't see")
