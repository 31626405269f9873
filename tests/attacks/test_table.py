"""docs/attacks.md is true: each row has its test, each test its row, and the words are those asserted there."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "attacks.md").read_text("utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if "| test_" in line]
TESTS = {
    name: text
    for path in sorted(HERE.glob("test_*.py"))
    if path != Path(__file__)
    for name, text in re.findall(r"^def (test_\w+)(.*?)(?=^def |^@|\Z)", path.read_text("utf-8"), re.M | re.S)
}


def test_every_attack_has_its_row_and_every_row_its_attack() -> None:
    assert sorted(row[-1] for row in ROWS) == sorted(TESTS)


@pytest.mark.parametrize("row", ROWS, ids=[row[-1] for row in ROWS])
def test_the_words_of_a_row_are_asserted_by_its_test(row: list[str]) -> None:
    words, name = row[3], row[4]
    if words != "see the test":
        assert words in re.sub(r"\{[^}]*\}", "57", TESTS[name]) or words in TESTS[name]
