"""Slips on the command line."""

from __future__ import annotations

from tests.optimizer.slips.slip import Slip, command

_WRONG: list[tuple[str, str]] = [
    ("optimize nowhere.yaml rows.jsonl --models sim/elm", "nowhere.yaml: no such file; nearest: "),
    ("optimize prog.py rows.jsonl --models sim/elm", "`module:object`, such as prog:pipeline"),
    ("evaluate prog.LS rows.jsonl --models sim/elm", "must be a YAML file or `module:object`"),
    ("evaluate nowhere.yaml rows.jsonl --models a,b", "may name one model here"),
    ("optimize pipeline.yaml nowhere.jsonl --models sim/elm", "nowhere.jsonl"),
    ("optimize pipeline.yaml rows.jsonl", "models must name the models to choose from"),
    ("optimize pipeline.yaml rows.jsonl --models sim/elk", "sim/elk"),
    (
        "optimize pipeline.yaml rows.jsonl --models sim/elm --budget-usd 0",
        "Budget(usd=...) must be a finite number above 0",
    ),
    (
        "optimize pipeline.yaml rows.jsonl --models sim/elm --budget-calls 3",
        "a budget of 3 calls is too small",
    ),
    ("optimize pipeline.yaml rows.jsonl --models sim/elm --metric exactly", "exact_match"),
    (
        "optimize pipeline.yaml rows.jsonl --models sim/elm --max-latency-s -1",
        "Objective(max_latency_s=...) must be greater than 0, but got -1.0",
    ),
    (
        "optimize pipeline.yaml rows.jsonl --models sim/elm --max-latency-p95-s 0",
        "Objective(max_latency_p95_s=...) must be greater than 0, but got 0.0",
    ),
    (
        "optimize pipeline.yaml rows.jsonl --models sim/elm --within 2",
        "`0 <= within < 1` must hold (0.01 is one point), but got 2",
    ),
    (
        "optimize pipeline.yaml rows.jsonl --models sim/elm --of single_model",
        "of='single_model' needs within=...",
    ),
    (
        "optimize pipeline.yaml rows.jsonl --models sim/elm --of single_model --within 0 --pareto",
        "--of single_model does not go with --pareto",
    ),
    (
        "optimize pipeline.yaml rows.jsonl --models sim/elm --report .",
        "--report must name a file, but . is a folder",
    ),
    (
        "optimize pipeline.yaml rows.jsonl --models sim/elm --save rows.jsonl/new/tuned.yaml",
        "rows.jsonl is a file, not a folder",
    ),
    (
        "run tuned.yaml --dataset rows.jsonl --output rows.jsonl/out.jsonl",
        "--output rows.jsonl/out.jsonl can't be written: ",
    ),
    ("optimize broken.yaml rows.jsonl --models sim/elm", "line 2"),
    ("run tuned.yaml --input tabel=x", "no input 'tabel'; nearest: 'table'"),
    ("run tuned.yaml --input table", "must read FIELD=VALUE, but got 'table'"),
    ("run tuned.yaml --input table=x", "--input question=... is missing"),
    ("run tuned.yaml --dataset pipeline.yaml", "pipeline.yaml"),
    ("evaluate tuned.yaml rows.jsonl --min-score 80", "--min-score must be in [0, 1], such as"),
    ("evaluate pipeline.yaml rows.jsonl", "models must name the models to choose from"),
    ("estimate pipeline.yaml rows.jsonl --models sim/elm --strategy halvin", "'halving'"),
    ("estimate pipeline.yaml rows.jsonl --models sim/elm --search-space odd.yaml", "odd.yaml: "),
    (
        "estimate pipeline.yaml rows.jsonl --models sim/elm --search-space list.yaml",
        "list.yaml must list choices by knob, such as `width: [1, 3]`, but got [1]",
    ),
    ("estimate pipeline.yaml rows.jsonl --models sim/elm --concurrency 0", "concurrency"),
]
_BASE = "optimize pipeline.yaml rows.jsonl --models sim/elm"

SLIPS: list[Slip] = [
    *(command(line, words) for line, words in _WRONG),
    command("optimise pipeline.yaml", "invalid choice: 'optimise'", "nearest: 'optimize'"),
    command(f"{_BASE} sim/fir", "sim/fir; several models are separated by commas: --models A,B"),
    command(f"{_BASE} --budjet-usd 5", "--budjet-usd 5; nearest: '--budget-usd'"),
    command(
        f"{_BASE} --budget 5", "--budget could match --budget-usd, --budget-calls, --budget-sec"
    ),
    command(f"{_BASE} --budget-usd $5", "argument --budget-usd: invalid float value: '$5'"),
    command(f"{_BASE} --stages models", "there is no stage 'models'; nearest: 'allocation'"),
    command(
        f"{_BASE} --diagnoser Auto", "diagnoser must be a model, 'auto' or None, but got 'Auto'"
    ),
    command(
        f"{_BASE} --strategy greedy", "there is no strategy 'greedy'; nearest: 'random' (strat"
    ),
    command(f"{_BASE} --save .", "--save must name a file, but . is a folder"),
    command(
        "optimize pipelin.yaml rows.jsonl --models sim/elm",
        "pipelin.yaml: no such file; nearest: 'pipeline.yaml'",
    ),
    command(
        "optimize rows.jsonl pipeline.yaml --models sim/elm",
        "PIPELINE comes first, then DATASET, but got 'rows.jsonl' as the pipeline",
    ),
    command(
        "optimize pipeline.yaml row.jsonl --models sim/elm",
        "there is no file 'row.jsonl'; nearest: 'rows.jsonl' (looked in ",
    ),
    command(
        "optimize nowhere:pipeline rows.jsonl --models sim/elm",
        "nowhere:pipeline: module 'nowhere' can't be imported: ModuleNotFoundError",
    ),
    command(
        "optimize json:dumbs rows.jsonl --models sim/elm",
        "module 'json' has no 'dumbs'; nearest: 'dumps'",
    ),
    command(
        "evaluate pipeline.yaml rows.jsonl --models sim/elm --budget-calls 5",
        "a budget of 5 calls is too small: 20 examples take 40 calls (2 each); give",
        "more, or few",
    ),
    command("run pipeline.yaml --input table=a question=b", "module 'locate' names no model"),
    command("run tuned.yaml --input question=@none.txt table=x", "none.txt: No such file"),
    command("diff pipeline.yaml", "arguments are required: B.yaml"),
    command("init taken", "FOLDER must be a folder, but taken is a file: name another"),
]
