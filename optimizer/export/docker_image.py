"""A folder from which Docker builds an image that serves a pipeline."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from optimizer.export.carried_code import carried_code
from pipelines import Tunable
from pipelines.files.yaml_text import read_text

RUNNING = ("dspy-ai", "litellm", "pydantic", "numpy", "fastapi", "uvicorn")
"""The distributions that running and serving a pipeline take; `requirements-run.txt` lists them."""
_LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
_DOCKERFILE = """\
FROM python:{python}-slim
RUN useradd --create-home app && install --directory --owner app /cache
WORKDIR /home/app
COPY requirements.txt .
RUN pip install --no-cache-dir --requirement requirements.txt
COPY code ./code
COPY pipeline.yaml .
ENV PYTHONPATH=/home/app/code PYTHONUNBUFFERED=1 COMPOUND_OPTIMIZER_CACHE=/cache
USER app
VOLUME /cache
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health')"]
ENTRYPOINT {entrypoint}
"""


def write_image(
    file: str, pipeline: Tunable, folder: Path, *, allow_code: bool, program: str | None
) -> None:
    """Write `Dockerfile`, `requirements.txt`, the pipeline, and the code it needs, with no keys.

    The code is this library and the packages of the user's that the pipeline names; requirements
    are pinned to what is installed here. Options of `serve` go behind `docker run IMAGE`.

    Args:
        file: the pipeline's, in YAML.
        pipeline: what was loaded from it.
        folder: new or empty.
        allow_code: whether the file was loaded, and is to be served, with `--allow-code`.
        program: the `module:object` of `--program`, likewise.

    Raises:
        ValueError: the folder is there, and not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--docker needs a folder that is new or empty, but got {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    modules = [each.__module__ for each in pipeline.code]
    if program is not None:
        modules.append(program.partition(":")[0])
    carried = carried_code(modules, folder / "code", RUNNING)
    names = (requirement.partition("==")[0] for requirement in carried.requirements)
    lines = [f"{name}\n" for name in pinned(names)]
    (folder / "requirements.txt").write_text("".join(lines), encoding="utf-8")
    (folder / "pipeline.yaml").write_text(read_text(file), encoding="utf-8")
    command = ["python", "-m", "optimizer.cli", "serve", "pipeline.yaml", "--host", "0.0.0.0"]
    if allow_code:
        command.append("--allow-code")
    if program is not None:
        command += ["--program", program]
    dockerfile = _DOCKERFILE.format(
        python=f"{sys.version_info.major}.{sys.version_info.minor}", entrypoint=json.dumps(command)
    )
    (folder / "Dockerfile").write_text(dockerfile, encoding="utf-8")


def pinned(names: Iterable[str]) -> list[str]:
    """These distributions and all that they need on Linux, as `name==version`, sorted."""
    left = [Requirement(name) for name in names]
    found: dict[str, str] = {}
    done: set[tuple[str, frozenset[str]]] = set()
    while left:
        wanted = left.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if (name, frozenset(wanted.extras)) in done:
            continue
        done.add((name, frozenset(wanted.extras)))
        try:
            installed = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # not needed where this runs: pip chooses one
            continue
        # without the local part of a version, such as `+cu118`, which no index has
        found[name] = f"{name}=={installed.version.partition('+')[0]}"
        for text in installed.requires or ():
            needed = Requirement(text)
            extras = ("", *wanted.extras)
            if needed.marker is None or any(
                needed.marker.evaluate({**_LINUX, "extra": extra}) for extra in extras
            ):
                left.append(needed)
    return sorted(found.values())
