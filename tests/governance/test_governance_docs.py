"""The examples of docs/governance.md are true."""

import re
from pathlib import Path

import pytest

from agents.models import Maturity
from governance.catalogue import assess
from governance.matrix import MATRIX
from governance.policies.problems import PolicyRefused
from governance.policies.reading import check_policy

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "governance.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def test_there_are_examples_of_both_kinds() -> None:
    refused = [text for text in EXAMPLES if text.startswith("# refused")]
    assert (len(EXAMPLES) - len(refused), len(refused)) == (3, 3)


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_is_taken_or_refused_as_it_says(text: str) -> None:
    wanted = re.match(r"# refused: (.*)\n", text)
    if wanted is None:
        assert check_policy(text, slugs=()).document.examples
        return
    with pytest.raises(PolicyRefused) as refused:
        check_policy(text, slugs=())
    assert wanted.group(1) in refused.value.message


def test_the_matrix_is_the_one_that_decides() -> None:
    rows = re.findall(r"^\| (student|intern|supervised|autonomous) \| (.*) \|$", TEXT, re.MULTILINE)
    assert {Maturity(level): tuple(cells.split(" | ")) for level, cells in rows} == MATRIX


def test_the_named_actions_have_the_named_complexity() -> None:
    found = re.findall(r"((?:`\w+`,? ?)+)(?:is|are) ([1-4])", TEXT)
    assert len(found) == 5
    for names, complexity in found:
        assert {assess(name).complexity for name in re.findall(r"`(\w+)`", names)} == {int(complexity)}
