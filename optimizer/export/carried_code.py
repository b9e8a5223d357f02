"""What a model needs to run elsewhere: copies of code that no index has, and requirements.

The user's own modules are found by the imports in their source, and are carried along; the
distributions that these import become requirements, pinned to what is installed here.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from pipelines.gateway.secrets import redactor

ROOMS = ("search_spaces", "pipelines", "evaluators", "optimizer")
REQUIREMENTS = (
    "mlflow", "dspy-ai", "litellm", "optuna", "joblib", "pydantic", "numpy", "cloudpickle"
)  # fmt: skip
"""What this library imports where a model is served."""
_SITES = tuple(Path(sysconfig.get_path(key)) for key in ("purelib", "platlib"))
_OURS = (".py", ".typed", ".html", ".yaml", ".json")


class CarriedCode(NamedTuple):
    """The code of a model."""

    paths: tuple[str, ...]
    """Copies of packages and files, for MLflow's `code_paths`."""
    requirements: tuple[str, ...]
    """Of pip, pinned."""


def carried_code(
    modules: Iterable[str], folder: Path, requirements: Iterable[str] = REQUIREMENTS
) -> CarriedCode:
    """Copy our packages, and the user's that the modules import, into `folder`, which must not
    exist. `requirements` are the distributions that our packages need there.

    Of a user's package only the Python files are copied, without the keys that the environment
    holds: others may be secret.
    """
    folder.mkdir()
    own, installed = _imported(modules)
    copies = [_copied(_source_of(name), folder, _OURS) for name in ROOMS]
    for name in own:
        copies.append(_copied(_source_of(name), folder, (".py",)))
        _redact(copies[-1])
    wanted = (*requirements, *installed)
    names = {re.sub(r"[-_.]+", "-", name).lower(): name for name in wanted}.values()
    # without the local part of a version, such as `+cu118`, which no index has
    pinned = (f"{name}=={metadata.version(name).partition('+')[0]}" for name in names)
    return CarriedCode(tuple(map(str, copies)), tuple(pinned))


def _imported(modules: Iterable[str]) -> tuple[list[str], list[str]]:
    """The user's own packages, and the distributions, that the modules import, directly or not."""
    own: dict[str, None] = {}
    installed: dict[str, None] = {}
    left, seen = list(modules), set[str]()
    sites = (Path(sysconfig.get_path("stdlib")), *_SITES)
    while left:
        name = left.pop(0)
        package = name.partition(".")[0]
        if name in seen or package in (*ROOMS, "__main__", *sys.stdlib_module_names):
            continue
        seen.add(name)
        source = _source_of(package)
        if source.exists() and source.parent not in sites:
            own[package] = None
            left += _imports_of(name)
        else:
            installed.update(dict.fromkeys(_providing(name)))
    return list(own), list(installed)


def _providing(module: str) -> list[str]:
    """The distributions that provide a module; several, if they share its package."""
    package = module.partition(".")[0]
    try:
        return [metadata.distribution(package).name]
    except metadata.PackageNotFoundError:  # it has another name
        pass
    installed_at = max(path.stat().st_mtime for path in _SITES if path.exists())
    names = list(dict.fromkeys(_distributions(installed_at).get(package, ())))
    parts = tuple(module.split(".")[:3])

    def has_it(distribution: str) -> bool:
        files = metadata.files(distribution) or ()
        return any(file.with_suffix("").parts[: len(parts)] == parts for file in files)

    return [name for name in names if len(names) > 1 and has_it(name)] or names


@cache
def _distributions(installed_at: float) -> Mapping[str, list[str]]:
    """By top-level package; takes a second, so it is kept until packages are installed."""
    return metadata.packages_distributions()


def _imports_of(module: str) -> Iterator[str]:
    """The modules that the source of a module imports, and the packages that it is in."""
    spec = _spec_of(module)
    if spec is None or not (spec.origin or "").endswith(".py"):
        return
    if spec.parent and spec.parent != module:
        yield spec.parent
    tree = ast.parse(Path(spec.origin or "").read_bytes())
    for node in _running(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            name = importlib.util.resolve_name(relative, spec.parent) if node.level else relative
            yield name
            yield from (f"{name}.{alias.name}" for alias in node.names)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below it, but for what only type checkers read."""
    for child in ast.iter_child_nodes(node):
        yield child
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _running(other)
        else:
            yield from _running(child)


def _spec_of(module: str) -> importlib.machinery.ModuleSpec | None:
    """How the module is imported; None if it is none, such as a class in a module."""
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None


def _source_of(package: str) -> Path:
    """The package's folder, or the module's file."""
    spec = _spec_of(package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places)) if places else (spec and spec.origin) or package)


def _copied(source: Path, folder: Path, kept: tuple[str, ...]) -> Path:
    def dropped(folder: str, names: list[str]) -> list[str]:
        files = (n for n in names if not n.endswith(kept) and not Path(folder, n).is_dir())
        return ["__pycache__", *files]

    target = folder / source.name
    if source.is_file():
        shutil.copy(source, target)
    else:
        shutil.copytree(source, target, ignore=dropped)
    return target


def _redact(copy: Path) -> None:
    """Take keys out of the file, or of all files of the package."""
    redact = redactor()
    for path in copy.rglob("*.py") if copy.is_dir() else (copy,):
        text = path.read_bytes().decode(errors="surrogateescape")
        if redact(text) != text:
            path.write_bytes(redact(text).encode(errors="surrogateescape"))
