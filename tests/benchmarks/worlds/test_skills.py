from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.worlds import chain_modules, families, simulated_dataset
from benchmarks.worlds.number_operations import roman_numeral
from benchmarks.worlds.operations import OPERATIONS
from pipelines.providers.simulated.request import OutputField, ParsedRequest
from pipelines.providers.simulated.tasks import Solution, evaluate_expression, find_solution

SINGLE = [name for name in families() if name not in ("locate_solve", "chain")]
TABLE = "T-104: Compute 17 * 23 - 5\nT-140: Compute 3 * 4\nQ-9: Compute 8 + 9 * 2"


def solve(instructions: str = "", **inputs: str) -> Solution | None:
    return find_solution(ParsedRequest(instructions, inputs, (OutputField("out"),)))


def right(instructions: str = "", **inputs: str) -> str | None:
    solution = solve(instructions, **inputs)
    return solution.right if solution else None


@pytest.mark.parametrize("family", SINGLE)
def test_the_interpreter_agrees_with_the_generator(family: str) -> None:
    for row in simulated_dataset(family, 60, seed=5):
        solution = solve(anything=row["question"])
        assert solution is not None
        assert solution.right == row["answer"]
        assert solution.skill == ("knowledge" if family == "multiple_choice" else family)
        assert row["answer"] not in solution.wrong
        assert len(solution.wrong) >= 2


def test_locate_then_solve_gives_the_generator_s_answer() -> None:
    for row in simulated_dataset("locate_solve", 60, seed=5):
        located = solve(tasks=row["table"], asked=row["question"])
        assert located is not None
        assert located.skill == "locate"
        assert right(step=located.right) == row["answer"]


@pytest.mark.parametrize("length", range(1, 9))
def test_the_modules_of_a_chain_lead_to_its_answer(length: int) -> None:
    for row in simulated_dataset("chain", 20, seed=length, length=length):
        value: str | None = row["word"]
        for module in chain_modules(length):
            assert value is not None
            value = right(module["instructions"], whatever=value)
        assert value == row["answer"]


def test_chain_modules_are_wired_one_after_the_other() -> None:
    signatures = [module["signature"].split(" -> ") for module in chain_modules(8)]
    assert signatures[0][0] == "word"
    assert signatures[-1][1] == "answer"
    assert all(one[1] == two[0] for one, two in pairwise(signatures))
    assert len({module["name"] for module in chain_modules(8)}) == 8


def test_the_wrong_task_is_solved_faithfully() -> None:
    assert right(task="Compute 3 * 4 (I went over one of the steps twice)") == "12"
    assert right("Reverse the word.", value="abc (as far as I can tell)") == "cba"


def test_locate_tempts_with_neighbours_and_knows_when_the_id_is_missing() -> None:
    solution = solve(table=TABLE, question="What about T-140?")
    assert solution is not None
    assert solution.right == "Compute 3 * 4"
    assert set(solution.wrong) == {"Compute 17 * 23 - 5", "Compute 8 + 9 * 2"}
    assert solution.extras["id"] == "T-140"
    assert right(table=TABLE, question="What about T-141?") == "There is no task T-141."
    assert right(all=f"{TABLE}\nWhich is Q-9?") == "Compute 8 + 9 * 2"


def test_arithmetic_slips_are_the_usual_ones() -> None:
    solution = solve(task="Compute 2 + 3 * 4 - 1")
    assert solution is not None
    assert solution.right == "13"
    assert {"19", "23", "15"} <= set(solution.wrong)  # left to right, ten too many, sign of the 1


def test_other_wordings() -> None:
    assert right(q="What is 7 * 8?") == "56"
    assert right(q="12 / 8 =") == "1.5"
    assert right(q="Which date is 45 days after 2024-01-01?") == "2024-02-15"
    assert right(q="Convert 12 feet to inches.") == "144"
    assert right(operation="Reverse the word", value="abc") == "cba"
    assert right(q="Tell me about rivers.") is None
    assert right(q="2031-03-05") is None


@given(st.integers(1, 3999))
def test_roman_numerals_go_back_and_forth(value: int) -> None:
    written = right("Write the Roman numeral as an ordinary number.", v=roman_numeral(value))
    assert written == str(value)


numbers = st.integers(0, 999).map(str)
expressions = st.recursive(
    numbers,
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({' '.join(t)})"),
    max_leaves=8,
)


@given(expressions)
def test_expressions_have_the_value_python_gives_them(expression: str) -> None:
    assert evaluate_expression(expression) == eval(expression)


@given(st.text(alphabet="0123456789+-*/(). x", max_size=60))
def test_odd_expressions_have_a_number_that_no_slip_gives_or_no_answer(text: str) -> None:
    solution = solve(task=f"Compute {text}", other=text)
    if solution is not None:
        assert math.isfinite(float(solution.right))
        assert solution.right not in solution.wrong


@given(st.text(max_size=80), st.sampled_from(chain_modules(8)))
def test_operations_on_odd_values_are_the_named_ones_and_repeat(
    value: str, module: dict[str, str]
) -> None:
    solution = solve(module["instructions"], value=value)
    assert solution == solve(module["instructions"], value=value)
    if solution is not None:
        assert solution.skill in {operation.name for operation in OPERATIONS}
        assert solution.right not in solution.wrong


def test_datasets_repeat_with_the_seed_and_say_what_is_wrong() -> None:
    assert simulated_dataset("chain", 5, seed=1) == simulated_dataset("chain", 5, seed=1)
    assert simulated_dataset("chain", 5, seed=1) != simulated_dataset("chain", 5, seed=2)
    assert simulated_dataset("arithmetic", 0) == []
    with pytest.raises(
        ValueError, match=r"family must be one of .*arithmetic.*but got 'aritmetic'"
    ):
        simulated_dataset("aritmetic", 3)
    with pytest.raises(ValueError, match=r"1 <= length <= 8 must hold, but got 9"):
        simulated_dataset("chain", 3, length=9)
    with pytest.raises(TypeError, match="length"):
        simulated_dataset("reverse", 3, length=9)
