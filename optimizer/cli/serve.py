"""`serve FILE`: a pipeline as a model API over HTTP."""

from __future__ import annotations

import argparse
import json
import os
import sys

from optimizer.cli.targets import load_yaml
from optimizer.service.serve import address, listening, run_server
from optimizer.serving.model_server import create_app
from pipelines import Tunable
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import default_gateway
from pipelines.providers import check_models

TOKEN = "COMPOUND_OPTIMIZER_TOKEN"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve_file(options: argparse.Namespace) -> int:
    """Serve the pipeline until ctrl-C or SIGTERM."""
    pipeline = load_yaml(options.file, allow_code=options.allow_code, program=options.program)
    hourly = Budget(options.usd_per_hour, options.calls_per_hour)
    if models := pipeline.named_models():
        check_models(models.values())
    token = os.environ.get(TOKEN) or None
    app = create_app(pipeline, default_gateway(), hourly=hourly, token=token)
    if token is None and options.host not in _LOOPBACK:
        problem = f"whoever reaches {options.host} may spend on models: {TOKEN} sets a token"
        print(f"warning: {problem}", file=sys.stderr)
    with listening(options.host, options.port, 8000) as server:
        print(_example(pipeline, address(server), token), flush=True)
        run_server(app, server)
    return 0


def _example(pipeline: Tunable, url: str, token: str | None) -> str:
    inputs = json.dumps({"inputs": dict.fromkeys(pipeline.inputs, "...")})
    header = f'-H "Authorization: Bearer ${TOKEN}" ' if token else ""
    return (
        f"Model {pipeline.name!r} at {url}/v1\n"
        f"  curl {url}/run {header}-H 'Content-Type: application/json' -d '{inputs}'"
    )
