"""In a fresh process: load what was saved, and write down what it answers.

    python loading.py FOLDER PLACE...

First without this repository and the programs on the path, as a server of models is.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

folder, places = Path(sys.argv[1]), sys.argv[2:]
facts_of = {place: json.loads((folder / place / "facts.json").read_text()) for place in places}
asked = json.loads((folder / "inputs.json").read_text())
found: dict[str, dict[str, dict[str, Any]]] = {}


def attempt(place: str, kind: str, name: str, do: Any) -> None:
    """What it answers, or its error: one failure leaves the others."""
    try:
        answer = do()
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    found.setdefault(place, {}).setdefault(kind, {})[name] = answer


def served(location: str, kind: str) -> Any:
    import mlflow.pyfunc

    frame = mlflow.pyfunc.load_model(location).predict(asked[kind])
    kept = [name for name in ("answer", "total", "reasoning") if name in frame]
    assert list(frame["failure"]) == [None] * len(frame), list(frame["failure"])
    return json.loads(frame[kept].to_json(orient="records"))


assert not [path for path in sys.path if Path(path, "optimizer").is_dir()]
for place in places:
    for kind, facts in facts_of[place].items():
        attempt(place, kind, "served", lambda: served(facts["model"], kind))  # noqa: B023

carried = str(Path(sys.modules["optimizer"].__file__ or ""))
sys.modules.pop("my_programs", None)
sys.path[:0] = [str(folder / "module"), os.environ["KINDS_REPOSITORY"]]

import dspy  # noqa: E402

from pipelines import Pipeline  # noqa: E402
from tests.optimizer.kinds.tuning import answers  # noqa: E402

programs = __import__("my_programs").PROGRAMS
for place in places:
    sys.path.insert(0, str(folder / place))
    for kind, facts in facts_of[place].items():
        path = folder / place / "tuned" / kind.replace(" ", "-")
        given: dict[str, Any] = {"program": programs[kind]()}
        alone = given if place != "module" or kind == "bare" else {"allow_code": True}
        for name, suffix, needed in (
            ("saved", ".yaml", alone),
            ("saved wide", ".wide.yaml", given),
        ):
            saved = path.with_suffix(suffix)
            attempt(place, kind, name, lambda: answers(Pipeline.load(saved, **needed), kind))  # noqa: B023
        for pickled in filter(None, facts["pickled"]):
            saved = path.with_name(pickled)
            attempt(
                place, kind, "wide pickled" if pickled.endswith("-wide") else "pickled",
                lambda: answers(dspy.load(str(saved), allow_pickle=True), kind),  # noqa: B023
            )  # fmt: skip
(folder / "found.json").write_text(json.dumps({"carried": carried, "found": found}))
