"""`serve`, `worker`, and what asks a service: `submit`, `searches`, `watch`, `stop`, ..."""

from __future__ import annotations

import argparse
import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizer.cli.arguments import FAILED, parser

if TYPE_CHECKING:
    from collections.abc import Mapping


DATABASE = "sqlite:///mlruns/service.db"


_OF_FILES = ("allow_code", "program", "usd_per_hour", "calls_per_hour")
_OF_SEARCHES = (
    "database", "allow", "lease_seconds", "workers", "tokens", "models", "most_megabytes"
)  # fmt: skip


def serve(options: argparse.Namespace) -> int:
    """Serve a pipeline, or a search service, until ctrl-C."""
    _check_fitting(options)
    if options.file is None:
        return _serve_searches(options)
    from optimizer.cli.serve import serve_file

    return serve_file(options)


def _check_fitting(options: argparse.Namespace) -> None:
    """Raises ValueError for an option that the other kind of service takes."""
    usual = parser().parse_args(["serve"])
    takes = "a search service, which has no FILE" if options.file else "serve FILE"
    for name in _OF_SEARCHES if options.file else _OF_FILES:
        if getattr(options, name) != getattr(usual, name):
            raise ValueError(f"--{name.replace('_', '-')} is for {takes}")


def _serve_searches(options: argparse.Namespace) -> int:
    from optimizer.service.api import Service, create_app
    from optimizer.service.materials import allowed_folders
    from optimizer.service.serve import address, listening, run_server, workers
    from optimizer.service.tokens import read_tokens, token_of
    from search_spaces.refusals import check_whole

    check_whole("workers", options.workers, 0)
    folders = allowed_folders(options.allow)
    models = _models(options.models) if options.models else {}
    database, url = _database(options.database)
    if options.tokens:
        tokens, fragment = read_tokens(options.tokens), ""
    else:
        given = os.environ.get("COMPOUND_OPTIMIZER_TOKEN")
        secret = given or secrets.token_urlsafe(32)  # all of whose characters a URL may have
        tokens, fragment = [token_of("owner", secret)], "" if given else f"/#token={secret}"
    most_bytes = int(options.most_megabytes * 1e6)
    app = create_app(Service(database, tokens, folders, models, most_bytes))
    kept = [word for folder in folders.values() for word in ("--allow", str(folder))]
    kept += ["--lease-seconds", str(options.lease_seconds)]
    with listening(options.host, options.port, 8765) as server, workers(options.workers, url, kept):
        print(f"{address(server)}{fragment}", flush=True)
        run_server(app, server)
    return 0


def worker(options: argparse.Namespace) -> int:
    """Run searches until SIGTERM or ctrl-C."""
    from optimizer.service.materials import allowed_folders
    from optimizer.service.worker import Worker

    database, _ = _database(options.database)
    folders = allowed_folders(options.allow)
    Worker(database, folders, lease_s=options.lease_seconds, parent=options.parent).run()
    return 0


def submit(options: argparse.Namespace) -> int:
    """Submit a search, and print its id and what it would take."""
    from optimizer.cli.tune import ALIKE, given_budget, given_models, given_objective, listed
    from pipelines.files.yaml_text import read_text, read_yaml

    space = options.search_space
    arguments = {
        **{name: getattr(options, name) for name in ("folder", *ALIKE, "strategy")},
        "prompt_optimizer": options.prompt_optimizer,
        "budget": given_budget(options),
        "objective": "pareto" if options.pareto else given_objective(options),
        "search_space": read_yaml(read_text(space), space)[0] if space else None,
        "stages": listed(options.stages),
        "diagnoser": None if options.diagnoser == "none" else options.diagnoser,
    }
    submitted = _service(options).submit(
        options.pipeline, options.dataset, given_models(options), **arguments
    )
    if options.json:
        return _print_json(submitted.known, options)
    print(submitted.known["estimate_text"])
    print(f"Submitted as {submitted.id}\n  compound-optimizer watch {submitted.id}")
    return 0


def searches(options: argparse.Namespace) -> int:
    """Print a line for each search, newest first."""
    found = _service(options).searches()
    if options.json:
        return _print_json({"searches": [each.known for each in found]}, options)
    for each in found:
        print(f"{each.id}  {_line(each.known)}")
    return 0


def watch(options: argparse.Namespace) -> int:
    """Print its events as they come; ends with it."""
    search = _service(options).search(options.search)
    state = ""
    for event in search.watch():
        if options.json:
            print(json.dumps(event), file=options.stdout, flush=True)
        elif event["kind"] == "search":
            print(_line(event["data"]), flush=True)
        elif event["kind"] in ("trial", "warning"):
            print(f"  {_event_text(event)}", flush=True)
        if event["kind"] == "search":
            state = event["data"]["state"]
    return 0 if state == "done" else FAILED


def stop(options: argparse.Namespace) -> int:
    """Ask a search to do what the command is called: to stop, or to resume."""
    search = _service(options).search(options.search)
    getattr(search, options.command)()
    status = search.status()
    if options.json:
        return _print_json(status, options)
    print(_line(status))
    return 0


resume = stop


def result(options: argparse.Namespace) -> int:
    """Wait for the result of a search, and write its files."""
    from optimizer.cli.targets import writable

    files = {"config.yaml": options.save, "report.html": options.report}
    wanted = {name: writable("a path", path) for name, path in files.items() if path}
    search = _service(options).search(options.search)
    found = search.result()
    for name, path in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(search.artifact(name))
    if options.json:
        return _print_json(found.figures, options)
    print(_line(search.status()))
    for name, path in wanted.items():
        print(f"  {path}: {name}")
    return 0


def _print_json(figures: Mapping[str, Any], options: argparse.Namespace) -> int:
    from optimizer.cli.targets import print_json

    print_json(figures, options.stdout)
    return 0


def _service(options: argparse.Namespace) -> Any:
    from optimizer.service.client import SearchService

    return SearchService(options.url or "", options.token or "")


def _database(given: str | None) -> tuple[Any, str]:
    from optimizer.service.database import Database

    url = given or os.environ.get("COMPOUND_OPTIMIZER_DATABASE") or DATABASE
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///")).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{path}"
    return Database(url), url


def _models(path: str) -> dict[str, Any]:
    """The models that a YAML file lists under `models`, as a pipeline does, by label."""
    from pipelines.files.yaml_form import tuning_of
    from pipelines.files.yaml_text import read_text, read_yaml
    from pipelines.gateway.model import as_models

    form, _ = read_yaml(read_text(path), path)
    return as_models(tuning_of(form if isinstance(form, dict) else {"models": form})["models"])


def _line(search: Mapping[str, Any]) -> str:
    """State, progress and spend in one line."""
    from optimizer.formatting import counted, dollars, percent

    state = "stopping" if search["stopping"] else search["state"]
    waits = f", waits for {search['waits_for']}" if search["waits_for"] else ""
    best, found = search["progress"].get("best"), search["result"]
    score = f"best {percent(best)} (search estimate), " if best is not None else ""
    if found is not None:
        tuned, given = found["tuned"]["score"]["mean"], found["baseline"]["score"]["mean"]
        score = f"{percent(given)} -> {percent(tuned)} ({found['measured_on']}), "
    spent = f"{dollars(search['spent']['usd'])} in {counted(search['spent']['calls'], 'call')}"
    error = f": {search['error']}" if search["error"] else ""
    trials = counted(search["trials"], "trial")
    return f"{search['name']}: {state}{waits}, {score}{trials}, {spent}{error}"


def _event_text(event: Mapping[str, Any]) -> str:
    from optimizer.formatting import percent

    data = event["data"]
    if event["kind"] == "warning":
        return f"warning: {data['message']}"
    score = percent(data["score"]) if data.get("score") is not None else "unscored"
    return (
        f"trial {data['number']} ({data['stage']}): {score} on {data['examples']} {data['changed']}"
    )
