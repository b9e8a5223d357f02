"""Exports: a Docker image's folder, a configuration of litellm's proxy, and DSPy programs."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import dspy
import pytest
import yaml
from litellm.exceptions import InternalServerError
from litellm.router import Router

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer
from optimizer import from_dspy
from optimizer.cli import main
from optimizer.export.carried_code import ROOMS
from optimizer.export.docker_image import RUNNING
from optimizer.export.dspy_source import dspy_source
from optimizer.export.litellm_proxy import proxy_config
from pipelines import Module, Pipeline, PipelineError
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from search_spaces import PipelineConfig
from tests.launching import REPOSITORY
from tests.optimizer.serving.thinking_models import models, serving, tuned

Messages = Sequence[Mapping[str, Any]]


def count_words(answer: str, at_most: int) -> int:
    return min(len(answer.split()), at_most)


class Asked:
    """Notes what a server is asked, and answers each field with its name."""

    def __init__(self) -> None:
        self.requests: list[tuple[Messages, Mapping[str, Any]]] = []

    def __call__(self, messages: Messages, params: Mapping[str, Any]) -> str:
        self.requests.append((list(messages), params))
        text = messages[-1]["content"].rpartition("Respond with")[2]
        if "JSON" in text:
            return json.dumps({"hint": "a hint"})
        fields = [name for name in re.findall(r"## (\w+) ##", text) if name != "completed"]
        parts = [f"[[ ## {name} ## ]]\nsome {name}" for name in fields]
        return "\n\n".join([*parts, "[[ ## completed ## ]]"])


def spec(url: str) -> Pipeline:
    """Every knob that DSPy has a form for, a renamed field, and a function."""
    first = Module(
        "hint", "question, options: list[str] -> hint", instructions='Give a "hint".', model="a"
    )
    second = Module(
        "solve", "question, clue -> answer", strategy="chain_of_thought", model="b",
        rename={"clue": "hint", "reasoning": "why"},
        demos=[{"question": "q", "clue": "c", "reasoning": "r", "answer": "it's"}],
    )  # fmt: skip
    third = Module("count", "answer -> words: int", function=count_words, params={"at_most": 9})
    models = [
        Model(f"openai/{name}", label=name, api_base=url, input_usd_per_million=1.0,
              output_usd_per_million=1.0)
        for name in "ab"
    ]  # fmt: skip
    pipeline = Pipeline("spec", [first, second, third], outputs=["why", "answer", "words"])
    config = pipeline.default_config()
    modules = dict(config.modules)
    modules["hint"] = modules["hint"].model_copy(update={"reply_format": "json"})
    modules["solve"] = modules["solve"].model_copy(update={"temperature": 0.5})
    return pipeline.with_config(PipelineConfig(modules=modules), models)


def test_a_dspy_program_asks_what_the_pipeline_asks_and_returns_the_same(tmp_path: Path) -> None:
    asked = Asked()
    with LoopbackServer(reply=asked) as server:
        pipeline = spec(server.url)
        source, reason = dspy_source(pipeline)
        namespace: dict[str, Any] = {}
        exec(compile(source, "program.py", "exec"), namespace)
        inputs = {"question": "why?", "options": ["x", "y"]}
        returned = namespace["program"](**inputs)
        own, asked.requests = asked.requests, []
        assert pipeline.config is not None
        program = pipeline.bind(pipeline.config, pipeline.named_models(), Gateway(None).session())
        trace = program.run(inputs)
    assert reason is None
    imported = re.findall(r"^(?:import|from) (\S+)", source, re.MULTILINE)
    assert imported == ["os", "dspy", __name__, "collections.abc"]
    assert dict(returned.items()) == trace.outputs
    assert [messages for messages, _ in own] == [messages for messages, _ in asked.requests]
    for (_, theirs), (_, ours) in zip(own, asked.requests, strict=True):
        assert theirs["model"] == ours["model"]
        assert theirs.get("temperature") == ours.get("temperature")


def test_what_dspy_has_no_form_for_runs_by_this_library() -> None:
    with models() as (given, slow, _):
        slow.go_on.set()
        source, reason = dspy_source(tuned(given))
        assert reason is not None
        assert "module 'think' asks 2 members, which DSPy has no form for" in reason
        namespace: dict[str, Any] = {}
        exec(compile(source, "program.py", "exec"), namespace)
        assert isinstance(namespace["program"], dspy.Module)
        assert namespace["program"](question="why?").answer == "better thought"


def test_keys_are_read_where_the_program_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_API_KEY", "sk-1234567890-secret")
    model = Model("openai/a", label="a", api_key_env="OWN_API_KEY")
    pipeline = Pipeline("p", [Module("solve", "task -> answer", model="a")], models=[model])
    for text in (dspy_source(pipeline)[0], proxy_config(pipeline)):
        assert "OWN_API_KEY" in text
        assert "sk-1234567890-secret" not in text


def test_litellms_router_falls_back_and_reaches_the_pipeline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COMPOUND_OPTIMIZER_TOKEN", "a-token")

    def quick_is_down(request: LoopbackRequest) -> Behaviour:
        return Behaviour(status=500 if request.model == "quick" else 200)

    with models() as (given, slow, _), LoopbackServer(quick_is_down) as server:
        slow.go_on.set()
        pipeline = tuned(given)
        with serving(pipeline, token="a-token") as url:
            text = proxy_config(pipeline).replace("http://127.0.0.1:8000", url)
            form = yaml.safe_load(text)
            for entry in form["model_list"]:
                if entry["model_name"] == "quick":
                    entry["litellm_params"]["api_base"] = server.url
            settings = {**form["router_settings"], "num_retries": 0}
            router = Router(model_list=form["model_list"], **settings)
            message: list[Any] = [{"role": "user", "content": "why?"}]
            served: Any = router.completion("thinker", message)
            fallen: Any = router.completion("quick", message)
    assert served.choices[0].message.content == "better thought"
    assert fallen.model.endswith("slow")
    assert form["router_settings"]["fallbacks"][0] == {"quick": ["slow", "check"]}


def test_litellms_router_asks_a_pipeline_that_fails_only_once() -> None:
    pipeline = Pipeline("p", [Module("solve", "task -> answer", model="openai/gpt-4o-mini")])
    with LoopbackServer(Behaviour(status=500)) as server:
        text = proxy_config(pipeline).replace("http://127.0.0.1:8000/v1", server.url)
        form = yaml.safe_load(text.replace("os.environ/COMPOUND_OPTIMIZER_TOKEN", "none"))
        router = Router(model_list=form["model_list"], **form["router_settings"])
        with pytest.raises(InternalServerError):
            router.completion("p", [{"role": "user", "content": "why?"}])
        with pytest.raises(InternalServerError):
            asyncio.run(router.acompletion("p", [{"role": "user", "content": "why?"}]))
        assert server.requests == 2


def test_a_proxy_is_refused_models_that_litellm_does_not_know() -> None:
    pipeline = Pipeline("p", [Module("solve", "task -> answer", model="sim/alder")])
    with pytest.raises(PipelineError, match="'sim/alder' is a model of this library's own"):
        proxy_config(pipeline)


def test_a_dockerfile_copies_what_is_there_and_pins_what_runs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Pipeline("p", [Module("solve", "task -> answer", model="sim/alder")]).save("p.yaml")
    assert main(["export", "p.yaml", "--docker", "image"]) == 0
    assert "docker build --tag pipeline image" in capsys.readouterr().out
    dockerfile = Path("image/Dockerfile").read_text()
    for source in re.findall(r"^COPY (\S+)", dockerfile, re.MULTILINE):
        assert Path("image", source).exists()
    lines = Path("image/requirements.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    names = {line.partition("==")[0] for line in lines}
    assert names >= {*RUNNING, "dspy", "openai", "starlette", "aiohttp"}
    assert not names & {"mlflow", "optuna", "scipy", "pandas", "joblib", "matplotlib"}
    assert main(["export", "p.yaml", "--docker", "image"]) == 2


def test_an_image_imports_and_serves_code_as_export_was_allowed_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def entrypoint(folder: str) -> list[str]:
        line = Path(folder, "Dockerfile").read_text().splitlines()[-1]
        command: list[str] = json.loads(line.removeprefix("ENTRYPOINT "))
        return command[command.index("0.0.0.0") + 1 :]

    monkeypatch.syspath_prepend(".")
    Path("loud_code.py").write_text("def loud(task):\n    return task.upper()\n")
    Path("held_program.py").write_text(
        "import dspy\nprogram = dspy.ChainOfThought('question -> answer')\n"
    )
    form = {"name": "p", "modules": [{"name": "loud", "signature": "task -> answer",
                                      "function": "loud_code:loud"}]}  # fmt: skip
    Path("code.yaml").write_text(yaml.safe_dump(form))
    assert main(["export", "code.yaml", "--docker", "image"]) == 2
    assert "names code that would be imported" in capsys.readouterr().err
    assert "loud_code" not in sys.modules
    assert not Path("image").exists()
    assert main(["export", "code.yaml", "--docker", "image", "--allow-code"]) == 0
    assert entrypoint("image") == ["--allow-code"]
    assert Path("image/code/loud_code.py").exists()

    from_dspy(dspy.ChainOfThought("question -> answer"), name="cot").save("cot.yaml")
    given = ["--program", "held_program:program"]
    assert main(["export", "cot.yaml", "--docker", "other", *given]) == 0
    assert entrypoint("other") == given
    assert Path("other/code/held_program.py").exists()


def test_running_and_serving_take_nothing_but_the_requirements(tmp_path: Path) -> None:
    """With all that `requirements-run.txt` does not bring made to fail when it is imported."""
    Pipeline("p", [Module("solve", "question -> answer", model="sim/alder")]).save("p.yaml")
    assert main(["export", "p.yaml", "--docker", "image"]) == 0
    lines = Path("image/requirements.txt").read_text().splitlines()
    wanted = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines}
    left_out = {
        package
        for package, distributions in metadata.packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", name).lower() for name in distributions} & wanted
    } - {*sys.stdlib_module_names, *ROOMS}
    script = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {left_out!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
sys.path.insert(0, "image/code")
from optimizer import Pipeline
from optimizer.cli import main
from optimizer.serving.model_server import create_app
from pipelines.gateway.gateway import Gateway
import optimizer.cli.serve
assert optimizer.__file__.endswith("image/code/optimizer/__init__.py"), optimizer.__file__
create_app(Pipeline.load("image/pipeline.yaml"), Gateway(None))
raise SystemExit(main(["run", "image/pipeline.yaml", "--input", "question=What is 2 + 3?"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).keys() == {"answer"}
    for name in ("mlflow", "optuna", "joblib", "pandas"):
        assert name in left_out


def test_the_list_for_running_is_what_images_install() -> None:
    lines = (REPOSITORY / "requirements-run.txt").read_text().splitlines()
    listed = [re.split("[>=]", line)[0] for line in lines if line and not line.startswith("#")]
    assert listed == list(RUNNING)


def test_a_dspy_export_needs_the_fitting_suffix(capsys: pytest.CaptureFixture[str]) -> None:
    Pipeline("p", [Module("solve", "task -> answer", model="openai/gpt-4o-mini")]).save("p.yaml")
    assert main(["export", "p.yaml", "--dspy", "p.json"]) == 2
    assert "--dspy must name a .py file for a pipeline of modules" in capsys.readouterr().err
    assert main(["export", "p.yaml", "--dspy", "program.py"]) == 0
    assert "self.solve = dspy.Predict" in Path("program.py").read_text()
