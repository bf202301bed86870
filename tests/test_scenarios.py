"""`docs/scenarios.md` names a test, or the area that brings one, for every behaviour; what it names is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "scenarios.md"
AREAS = ("routing", "governance", "doors", "feedback", "chaos")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
LATER = re.compile(rf"later: ({'|'.join(AREAS)})")
HEADING = ("Behaviour", "Seen in")


def rows_of(page: str) -> list[tuple[str, str]]:
    """The behaviours and what stands beside them; a row of another width is returned with nothing beside it."""
    rows = []
    for line in page.splitlines():
        if not line.startswith("|") or not line.strip("|-: "):
            continue
        cells = tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
        if cells != HEADING:
            rows.append((cells[0], cells[1] if len(cells) == 2 else ""))
    return rows


@cache
def names_in(path: str) -> frozenset[str]:
    """Names of the test functions of a file, in classes too; none where there is no such file."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(name for name in found if name.startswith("test_"))


def problem_of(behaviour: str, beside: str) -> str | None:
    """What is wrong with this row; None for a good one."""
    if LATER.fullmatch(beside):
        return None
    named = NAMED.findall(beside)
    if not named or NAMED.sub("", beside).strip():
        return f"{behaviour}: {beside!r} is neither tests nor `later: <area>`"
    missing = [f"{path}::{name}" for path, name in named if name not in names_in(path)]
    return f"{behaviour}: there is no {', '.join(missing)}" if missing else None


def test_every_scenario_names_its_tests_or_the_area_that_brings_them() -> None:
    rows = rows_of(PAGE.read_text(encoding="utf-8"))
    assert len(rows) > 100
    assert [problem for row in rows if (problem := problem_of(*row))] == []


@pytest.mark.parametrize(
    "beside",
    [
        "",
        "soon",
        "later",
        "later: some day",
        "later: doors, perhaps",
        "`tests/test_scenarios.py`",
        "`tests/test_scenarios.py::test_that_nobody_wrote`",
        "`tests/no_such_file.py::test_every_scenario_names_its_tests_or_the_area_that_brings_them`",
        "`tests/test_scenarios.py::names_in`",
        "`tests/test_scenarios.py::test_a_row_is_a_behaviour_and_what_stands_beside_it` and more",
    ],
)
def test_a_row_without_a_test_or_an_area_is_a_problem(beside: str) -> None:
    assert problem_of("A behaviour", beside) is not None


@pytest.mark.parametrize(
    "beside",
    [
        "later: routing",
        "`tests/test_scenarios.py::test_a_row_is_a_behaviour_and_what_stands_beside_it`",
        "`tests/agents/test_chat_socket.py::test_a_message_streams_its_answer` "
        "`tests/agents/test_chat.py::test_malformed_json_is_a_400`",
    ],
)
def test_a_row_with_a_test_or_an_area_is_good(beside: str) -> None:
    assert problem_of("A behaviour", beside) is None


def test_a_row_is_a_behaviour_and_what_stands_beside_it() -> None:
    page = "# A page\n\n| Behaviour | Seen in |\n|---|---|\n| One | later: doors |\n| Two |\n| Three | a | b |\n"
    assert rows_of(page) == [("One", "later: doors"), ("Two", ""), ("Three", "")]


def test_no_coroutine_is_left_unawaited_because_warnings_are_errors(pytestconfig: pytest.Config) -> None:
    rules = pytestconfig.getini("filterwarnings")
    assert rules[0] == "error"
    excused = [rule for rule in rules[1:] if not rule.startswith("ignore::DeprecationWarning:")]
    assert excused == []
