"""docs/attacks.md and these tests say the same: every row has its test, and quotes words that the test asserts."""

import ast
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "attacks.md").read_text("utf-8")
_LINK = re.compile(r"\[(test_\w+)\]\(\.\./tests/attacks/(test_\w+\.py)\)")
_QUOTED = re.compile("“([^”]+)”")


class Row(NamedTuple):
    """An attack: the words its row quotes, in parts between dots, and its test's file and name."""

    attack: str
    words: list[str]
    test: tuple[str, str]


def rows() -> list[Row]:
    found = []
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and cells[0] not in {"attack", "---"}:
            assert len(cells) == 5, line
            (link,) = _LINK.findall(cells[4])
            words = [part.strip(" ,:") for quoted in _QUOTED.findall(cells[3]) for part in quoted.split("…")]
            found.append(Row(cells[0], [word for word in words if word], (link[1], link[0])))
    return found


def mounted() -> dict[tuple[str, str], ast.FunctionDef]:
    """Every test that mounts an attack, by file and name."""
    return {
        (path.name, node.name): node
        for path in sorted(HERE.glob("test_*.py"))
        if path != Path(__file__)
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def said(test: ast.FunctionDef) -> str:
    """All that a test says in strings, its own description left out."""
    body = test.body[1:] if ast.get_docstring(test) else test.body
    strings = [node.value for part in body for node in ast.walk(part) if isinstance(node, ast.Constant)]
    return "\n".join(str(one) for one in strings if isinstance(one, str | bytes))


def test_every_attack_has_its_test_and_every_test_its_place_on_the_page() -> None:
    named = Counter((file, name) for name, file in _LINK.findall(PAGE))
    assert set(named) == set(mounted())
    assert set(named.values()) == {1}


def test_the_words_of_every_row_are_asserted_by_its_test() -> None:
    for row in rows():
        assert row.words or row.attack == "Replay a message", f"{row.attack} quotes nothing"
        for word in row.words:
            assert word in said(mounted()[row.test]), f"{row.attack}: {word!r} is not what its test asserts"


def test_the_attacks_that_were_promised_are_all_there() -> None:
    text = " ".join(row.attack.lower() for row in rows())
    for attack in (
        *("flip", "delete an entry", "insert", "reorder", "truncate", "rewrite everything", "two auditors"),
        *("restore", "backdate", "withhold", "drop messages", "replay", "second notary", "corrupt"),
        *("delete the database", "flood", "fill the", "passphrase", "another record", "rights", "what needs two"),
    ):
        assert attack in text
