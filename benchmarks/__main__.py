"""The figures of `docs/benchmarks.md`, a command each.

python -m benchmarks                     what there is
python -m benchmarks locate_solve ...    one of them, with its options
python -m benchmarks all                 all of them, as the README quotes them
"""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# Small matrices in several processes: more threads than processors slow all of them down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
RECORDING = "mmlu_pro_recorded.jsonl.gz"


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; 0 when it ended well, 2 when there is no such benchmark."""
    known = benchmarks()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        for name, about in known.items():
            print(f"{name:15} {about}")
        return 0
    name, *options = arguments
    if name == "all":
        return run_all(list(known))
    if name not in known:
        print(f"there is no benchmark {name!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    sys.argv = [f"python -m benchmarks {name}", *options]
    benchmark = importlib.import_module(f"benchmarks.{name}")
    if hasattr(benchmark, "goals"):
        from benchmarks.resuming import goals_of, tell_goals

        tell_goals(goals_of(name, options))
    else:
        benchmark.main()
    return 0


def benchmarks() -> dict[str, str]:
    """The first line about each, by name: the files of this folder with a `main` or `goals`."""
    found = {}
    for path in sorted(HERE.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        if functions & {"main", "goals"} and path.stem != "__main__":
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def run_all(names: Sequence[str]) -> int:
    """Each in a process of its own; the number of those that failed."""
    failed = 0
    for name in names:
        options: list[str] = []
        print(f"\n== {name}", flush=True)
        if name.startswith("recorded_"):
            if not (path := shared_data(RECORDING)).is_file():
                print(f"skipped: no {path}; COMPOUND_OPTIMIZER_SHARED_DATA says where it is")
                continue
            options = ["--recording", str(path)]
        command = [sys.executable, "-m", "benchmarks", name, *options]
        failed += subprocess.run(command, cwd=HERE.parent).returncode != 0
    return failed


def shared_data(name: str) -> Path:
    """Where a file of real data is, which is not part of this repository."""
    default = HERE.parents[1] / "shared" / "data"
    return Path(os.environ.get("COMPOUND_OPTIMIZER_SHARED_DATA", default)) / name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
