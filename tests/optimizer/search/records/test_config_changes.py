from __future__ import annotations

import pytest

from optimizer.search.records.config_changes import changed_text, config_changes
from search_spaces import ModuleConfig, PipelineConfig
from tests.optimizer.made import make_config

GIVEN = make_config()


@pytest.mark.parametrize(
    ("after", "text"),
    [
        (GIVEN, ""),
        (
            make_config("openai/large", temperature=0.7),
            "locate.model: openai/small -> openai/large; solve.temperature: as given -> 0.7",
        ),
        (
            GIVEN.with_knobs("solve", width=3, aggregator="majority_vote"),
            "solve.network: openai/small -> [3x openai/small -> majority_vote]",
        ),
        (
            GIVEN.with_knobs("solve", demos=({"task": "1"}, {"task": "2"})),
            "solve.demos: none -> 2 demos",
        ),
    ],
)
def test_changes_read_as_one_line(after: PipelineConfig, text: str) -> None:
    assert changed_text(GIVEN, after) == text


def test_a_functions_parameter_is_a_knob_of_its_own() -> None:
    before, after = (
        PipelineConfig(modules={"trim": ModuleConfig(params=params)})
        for params in ({"share": 0.5}, {"share": 0.25, "k": 3})
    )
    assert [tuple(change) for change in config_changes(before, after)] == [
        ("trim.share", "0.5", "0.25"), ("trim.k", "as given", "3"),
    ]  # fmt: skip
