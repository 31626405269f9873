"""The page docs/part11.md."""

import textwrap
from collections.abc import Mapping, Sequence

from tests.part11.clauses import Clause, Clauses
from tests.part11.marks import TESTS, Test
from tests.part11.results import NOT_MARKED, why_open

PLACE = TESTS.parent / "docs" / "part11.md"
_HEAD = """\
# 21 CFR Part 11, clause by clause

For each clause of 21 CFR Part 11, in our own words: what the software does, the tests that show it, what remains
with the organisation that runs it, and where ICH E6(R3) and EU GMP Annex 11 ask for the same. A clause is
**open** as long as no test shows it. `make part11` writes this page from
[clauses.yaml](../tests/part11/clauses.yaml) and the marks of the tests; CI runs these, and fails where one for a
clause that is shown here failed or was skipped. Whether an installation complies is judged where it is used: this
page is what its organisation can build on.

Editions: E6(R3) as adopted on 6 January 2025 (the numbers are those of its Annex 1 and Appendix C), Annex 11 in the
revision of January 2011.
"""


def sign(id_: str) -> str:
    """A clause's id as people write it."""
    return f"§{id_}" if id_[0].isdigit() else id_


def page(clauses: Clauses, marks: Mapping[str, Sequence[Test]]) -> str:
    """The whole page."""
    open_ = why_open(clauses.all, marks)
    waiting = [sign(one) for one, reason in open_.items() if reason == NOT_MARKED]
    beyond = [sign(one) for one in open_ if sign(one) not in waiting]
    parts = [
        _HEAD,
        f"{len(clauses.all) - len(open_)} of {len(clauses.all)} clauses are shown.\n",
        textwrap.fill(f"{len(waiting)} wait for a test: {', '.join(waiting)}.", 116) + "\n",
        textwrap.fill(f"{len(beyond)} are open for good, as no test can show them: {', '.join(beyond)}.", 116)
        + "\n",
    ]
    for section in clauses.sections:
        rows = [_row(clause, marks.get(clause.id, []), open_.get(clause.id)) for clause in section.clauses]
        head = "clause", "it asks", "the software", "shown by", "remains with the organisation", "see also"
        parts.append(f"## {section.heading}\n\n{_table(head, rows)}")
    through = {
        point: ", ".join(sign(clause.id) for clause in clauses.all if point in clause.see)
        for point in clauses.points
    }
    parts.append(
        "## The points of E6(R3) and Annex 11\n\n"
        + _table(
            ("point", "it asks", "see"), [(point, asks, through[point]) for point, asks in clauses.points.items()]
        )
    )
    return "\n".join(parts)


def _row(clause: Clause, tests: Sequence[Test], reason: str | None) -> Sequence[str]:
    shown = (
        ", ".join(f"[{test.name}](../{test.path})" for test in tests) if reason is None else f"**open**: {reason}"
    )
    does = f"Not shown yet: {clause.does}" if reason == NOT_MARKED else clause.does
    return sign(clause.id), clause.asks, does, shown, clause.remains, ", ".join(clause.see)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
