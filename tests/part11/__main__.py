"""``python -m tests.part11`` writes docs/part11.md; given results, it says which clauses they leave open."""

import sys
from pathlib import Path
from xml.etree.ElementTree import ParseError

from tests.part11.clauses import clauses
from tests.part11.marks import marked
from tests.part11.page import PLACE, page, sign
from tests.part11.results import outcomes, why_open


def main(files: list[Path]) -> int:
    """Write the page, or hold it against results; 1 where a clause that it shows is open by them."""
    marks = marked()
    if not files:
        PLACE.write_text(page(clauses(), marks), "utf-8")
        return 0
    try:
        reasons = why_open(clauses().all, marks, outcomes(files))
    except (OSError, ParseError) as error:
        print(f"the results cannot be read: {error}", file=sys.stderr)
        return 2
    wrong = 0
    for id_, reason in reasons.items():
        wrong += id_ in marks
        print(f"{'OPEN though docs/part11.md shows it' if id_ in marks else 'open'}  {sign(id_)}: {reason}")
    print(f"21 CFR Part 11: {len(reasons)} of {len(clauses().all)} clauses are open, {wrong} of them unexpectedly")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main([Path(one) for one in sys.argv[1:]]))
