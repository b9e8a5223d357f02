"""`export FILE`: a pipeline as an image, a proxy's configuration, a DSPy program, or chats."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from optimizer.cli.targets import load_yaml, replaces, writable, write_text
from optimizer.formatting import command, counted
from pipelines import Pipeline, PipelineError, Tunable
from pipelines.adapters.dspy_programs import DSPyPipeline
from pipelines.adapters.dspy_programs.tuned_program import TunedProgram


def export(options: argparse.Namespace) -> int:
    """Write the chosen form, and say what to do with it."""
    allow_code, program = options.allow_code, options.program
    pipeline = load_yaml(options.file, allow_code=allow_code, program=program)
    if options.finetune:
        return _write_chats(pipeline, options)
    if options.dataset:
        raise ValueError("--dataset is for --finetune")
    if options.docker:
        from optimizer.export.docker_image import write_image

        folder = Path(options.docker)
        write_image(options.file, pipeline, folder, allow_code=allow_code, program=program)
        print(
            f"{options.docker}: Dockerfile, requirements.txt, pipeline.yaml and code\n\nNext\n"
            f"  docker build --tag pipeline {shlex.quote(options.docker)}\n"
            "  docker run --publish 8000:8000 --env COMPOUND_OPTIMIZER_TOKEN "
            "--env OPENAI_API_KEY pipeline --usd-per-hour 5"
        )
        return 0
    if options.litellm_proxy:
        from optimizer.export.litellm_proxy import proxy_config

        path = writable("--litellm-proxy", options.litellm_proxy)
        write_text(path, proxy_config(pipeline))
        serve = f"{command('compound-optimizer')} serve {shlex.quote(options.file)}"
        print(f"\nNext\n  {serve}\n  litellm --config {shlex.quote(str(path))}")
        return 0
    _write_dspy(pipeline, writable("--dspy", options.dspy))
    return 0


def _write_dspy(pipeline: Tunable, path: Path) -> None:
    kind, suffix = ("a DSPy program", ".json") if isinstance(pipeline, DSPyPipeline) else (
        "a pipeline of modules", ".py")  # fmt: skip
    if path.suffix != suffix:
        raise ValueError(f"--dspy must name a {suffix} file for {kind}, but got {path}")
    if isinstance(pipeline, DSPyPipeline):
        program = pipeline.to_dspy()
        path.parent.mkdir(parents=True, exist_ok=True)
        replaced = replaces(path)
        program.save(path)
        kind = "TunedProgram" if isinstance(program, TunedProgram) else "program of its class"
        print(f"{path}: the state of a {kind}{replaced}")
    elif isinstance(pipeline, Pipeline):
        from optimizer.export.dspy_source import dspy_source

        text, reason = dspy_source(pipeline)
        write_text(path, text)
        if reason:
            print(f"It needs this library to run: {reason}")
    else:
        raise PipelineError(f"{pipeline.name!r} is plain Python, which DSPy has no form for")


def _write_chats(pipeline: Tunable, options: argparse.Namespace) -> int:
    from optimizer.cli.tune import given_budget
    from optimizer.evaluation.evaluation import evaluate
    from optimizer.export.finetuning import check_at_least, check_has_prompts, finetuning_data

    check_has_prompts(pipeline)
    check_at_least(options.min_score)
    if not options.dataset:
        raise ValueError("--finetune needs --dataset, the labelled examples to learn from")
    budget = given_budget(options)
    found = evaluate(pipeline, options.dataset, metric=options.metric, budget=budget)
    data = finetuning_data(found, options.min_score)
    for path in data.save(options.finetune):
        print(f"{path}: {counted(len(data.chats[path.stem]), 'chat')}")
    print(
        f"from {counted(data.examples, 'example')}; {data.unsuccessful} failed or scored less, and "
        f"{data.held_out} were left out as held out"
    )
    return 0
