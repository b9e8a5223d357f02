"""The arguments of `compound-optimizer`, and its exit codes."""

from __future__ import annotations

import argparse

FAILED, WRONG_INPUT, UNMET, SIGNALLED = 1, 2, 3, 128
"""The last one and the number of the signal."""

_EXIT_CODES = (
    f"Exit codes: 0 done; {FAILED} the run, or a row of it, failed; {WRONG_INPUT} the input is "
    f"wrong; {UNMET} what was found, and saved, does not meet the limits on cost or latency; "
    f"{SIGNALLED + 2} after ctrl-C, {SIGNALLED + 15} after SIGTERM, {SIGNALLED + 1} after SIGHUP."
)
_ALLOW_CODE = "import the functions that the file names, which runs them; if you trust it"
_RUN = (
    "Write outputs as JSON. Each prediction carries its confidence, the share of members that "
    "agreed: in every line for --dataset; for --input on stderr, where a module has members."
)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; `options.command` is the one that was given."""
    root = argparse.ArgumentParser(
        prog="compound-optimizer",
        description="Find a better model for every module of an LLM pipeline, within a budget.",
        epilog=_EXIT_CODES,
    )
    root.add_argument("--debug", action="store_true", help="show where an error comes from")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands.add_parser("demo", help="tune a small pipeline of simulated models, free"))
    tuning = "tune a pipeline on labelled examples"
    running = "run a pipeline on one input, or on a file of rows"
    _add_optimize(commands.add_parser("optimize", help=tuning, epilog=_EXIT_CODES))
    _add_run(commands.add_parser("run", help=running, description=_RUN, epilog=_EXIT_CODES))
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


def _add_optimize(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    models = "litellm names, or labels of the pipeline's own models (which are the default)"
    metrics = "exact_match (the default), contains, numeric_match, f1 or multiple_choice"
    holdout = "share of the examples that the search never sees (0.3)"
    diagnoser = (
        "the model that judges modules, auto for the best single model (the default), or none"
    )
    stages = "what to tune: allocation (models), structure (widths, ...), prompts; all by default"
    prompts = "which of DSPy's optimizers writes prompts: gepa, mipro, copro, bootstrap or auto"
    pareto = (
        "look for the front of quality, cost and latency; the limits below then choose which of "
        "it is saved, else it is the best score"
    )
    within = "the cheapest at most so much below the best that meets the limits: 0.01 is a point"
    of = "single_model: --within counts from the best single model; else from the best of all"
    add("pipeline", metavar="PIPELINE.yaml", help="what to tune")
    add("--allow-code", action="store_true", help=_ALLOW_CODE)
    add("dataset", metavar="DATASET", help="labelled examples: .jsonl, .json, .csv or .parquet")
    add("--models", action="append", default=[], metavar="A,B,C", help=models)
    add("--metric", default="exact_match", metavar="NAME", help=metrics)
    add("--budget-usd", type=float, metavar="X", help="most dollars")
    add("--budget-calls", type=int, metavar="N", help="most calls")
    add("--budget-seconds", type=float, metavar="X", help="most seconds")
    add("--stages", default="allocation,structure,prompts", metavar="A,B", help=stages)
    add("--prompt-optimizer", default="auto", metavar="NAME", help=prompts)
    add("--pareto", action="store_true", help=pareto)
    add("--max-cost-usd", type=float, metavar="X", help="most dollars per example")
    add("--max-latency-s", type=float, metavar="X", help="most seconds per example")
    add("--max-latency-p95-s", type=float, metavar="X", help="most seconds in 95%% of the examples")
    add("--within", type=float, metavar="X", help=within)
    add("--of", choices=("best", "single_model"), default="best", help=of)
    add("--holdout", type=float, default=0.3, metavar="X", help=holdout)
    add("--seed", type=int, default=0, metavar="N", help="decides every draw (0)")
    add("--concurrency", type=int, default=32, metavar="N", help="most examples in flight (32)")
    add("--experiment", metavar="NAME", help="MLflow experiment (the pipeline's name)")
    add("--diagnoser", default="auto", metavar="MODEL", help=diagnoser)
    add("--save", default="tuned.yaml", metavar="PATH", help="the tuned pipeline (tuned.yaml)")
    add("--report", metavar="PATH.html", help="a page of figures and plots")


def _add_run(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("pipeline", metavar="PIPELINE.yaml", help="what to run")
    add("--allow-code", action="store_true", help=_ALLOW_CODE)
    value = "one input; FIELD=@PATH reads the value from a file"
    rows = command.add_mutually_exclusive_group(required=True)
    rows.add_argument("--input", nargs="+", action="extend", metavar="FIELD=VALUE", help=value)
    rows.add_argument("--dataset", metavar="PATH", help="many: .jsonl, .json, .csv or .parquet")
    add("--output", metavar="PATH", help="where outputs go, as JSON lines (the terminal)")
    add("--concurrency", type=int, default=16, metavar="N", help="most rows in flight (16)")
