"""How the marked tests came out, by the files that ``pytest --junitxml`` writes, and what that leaves open."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from tests.part11.clauses import Clause
from tests.part11.marks import Test

NOT_MARKED = "no test is marked for it"


def outcomes(files: Iterable[Path]) -> dict[str, str]:
    """What is to be said against each test that was run: nothing, or that a case of it failed or was skipped."""
    found: dict[str, str] = {}
    for file in files:
        for case in ElementTree.parse(file).iter("testcase"):  # noqa: S314 - pytest wrote it on this machine
            test = f"{case.get('classname')}.{str(case.get('name')).partition('[')[0]}"
            said = [_trouble(part) for part in case if part.tag in {"failure", "error", "skipped"}]
            found[test] = min([one for one in (found.get(test), *said) if one], default="")  # failed before skipped
    return found


def _trouble(part: ElementTree.Element) -> str:
    return f"was skipped ({part.get('message')})" if part.tag == "skipped" else "failed"


def why_open(
    clauses: Iterable[Clause], marks: Mapping[str, Sequence[Test]], outcomes: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The clauses that are open, each with the reason; without outcomes, those for which no test is marked."""
    reasons: dict[str, str] = {}
    for clause in clauses:
        tests = marks.get(clause.id, [])
        if not tests:
            reasons[clause.id] = clause.beyond or NOT_MARKED
        elif outcomes is not None:
            came = [(test.name, outcomes.get(_as_junit(test), "was not run")) for test in tests]
            if against := [f"{name} {trouble}" for name, trouble in came if trouble]:
                reasons[clause.id] = "; ".join(against)
    return reasons


def _as_junit(test: Test) -> str:
    return f"{test.path.removesuffix('.py').replace('/', '.')}.{test.name}"
