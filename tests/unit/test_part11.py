"""docs/part11.md says of each clause what its marked tests say: nothing is shown without a test that passes."""

import re

import pytest

from tests.part11 import __main__ as command
from tests.part11.clauses import clauses
from tests.part11.marks import TESTS, Test, marked
from tests.part11.page import PLACE, page

pytest_plugins = ["pytester"]

SHOWN = Test("tests/unit/test_shown.py", "test_shown")
INNER = """
import pytest

@pytest.mark.part11("11.10(a)")
@pytest.mark.parametrize("number", [1, 2])
def test_holds(number):
    pass

@pytest.mark.part11("11.10(b)")
@pytest.mark.parametrize("number", [1, 2])
def test_fails_once(number):
    assert number == 1

@pytest.mark.part11("11.10(c)")
def test_is_skipped():
    pytest.skip("no engine")

@pytest.mark.part11("11.10(d)")
def test_breaks_before_it_begins(nothing_of_this_name):
    pass

@pytest.mark.part11("11.10(e)", "11.10(f)")
@pytest.mark.slow
def test_is_left_out():
    pass
"""


def test_the_page_is_what_the_marks_in_the_tests_make_it() -> None:
    assert PLACE.read_text("utf-8") == page(clauses(), marked()), "run `make part11`"


def test_every_test_that_the_page_names_exists() -> None:
    links = re.findall(r"\[(test_\w+)\]\(\.\./([\w/]+\.py)\)", PLACE.read_text("utf-8"))
    assert len(links) > 30
    for name, path in links:
        assert f"def {name}(" in (TESTS.parent / path).read_text("utf-8")


def test_a_clause_without_a_marked_test_is_open_and_its_text_is_not_taken_for_shown() -> None:
    text = page(clauses(), {"11.10(a)": [SHOWN]})
    rows = {row.split(" | ")[0].removeprefix("| "): row for row in text.splitlines() if row.startswith("| ")}
    assert "[test_shown](../tests/unit/test_shown.py)" in rows["§11.10(a)"]
    assert "**open**" not in rows["§11.10(a)"]
    assert "| Not shown yet: " in rows["§11.10(b)"]
    assert "| **open**: no test is marked for it |" in rows["§11.10(b)"]
    assert "| **open**: no test can show what people do |" in rows["§11.100(c)"]
    assert f"1 of {len(clauses().all)} clauses are shown.\n" in text


def test_a_clause_whose_marked_test_failed_was_skipped_or_was_not_run_is_open(
    pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory := pytester.mkdir("tests")).joinpath("test_inner.py").write_text(INNER)
    run(pytester, "--junitxml=results.xml", "-m", "not slow")
    monkeypatch.setattr(command, "marked", lambda: marked(directory))
    capsys.readouterr()
    assert command.main([pytester.path / "results.xml"]) == 1
    told = capsys.readouterr().out
    assert "§11.10(a)" not in told
    for sentence in (
        "§11.10(b): test_fails_once failed",
        "§11.10(c): test_is_skipped was skipped (no engine)",
        "§11.10(d): test_breaks_before_it_begins failed",
        "§11.10(e): test_is_left_out was not run",
        "§11.10(f): test_is_left_out was not run",
    ):
        assert f"OPEN though docs/part11.md shows it  {sentence}\n" in told
    assert "open  §11.10(g): no test is marked for it\n" in told
    assert "5 of them unexpectedly" in told


def test_results_of_two_runs_count_together_and_what_was_open_before_fails_nothing(
    pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick, slow = "def test_quick(): pass", "@pytest.mark.slow\ndef test_slow(): pass"
    text = "\n".join(f'@pytest.mark.part11("11.10(a)")\n{test}' for test in (quick, slow))
    (directory := pytester.mkdir("tests")).joinpath("test_inner.py").write_text(f"import pytest\n{text}\n")
    run(pytester, "--junitxml=quick.xml", "-m", "not slow")
    run(pytester, "--junitxml=slow.xml", "-m", "slow")
    monkeypatch.setattr(command, "marked", lambda: marked(directory))
    assert command.main([pytester.path / "quick.xml", pytester.path / "slow.xml"]) == 0
    assert "0 of them unexpectedly" in capsys.readouterr().out
    assert command.main([pytester.path / "quick.xml"]) == 1
    assert command.main([pytester.path / "nothing.xml"]) == 2


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        ('@pytest.mark.part11("11.10(z)")', "part11 names '11.10(z)', which is no clause of"),
        ("@pytest.mark.part11", "write part11 as a decorator of the test"),
        ("@pytest.mark.part11()", "write part11 as a decorator of the test"),
        ('pytestmark = pytest.mark.part11("11.10(a)")\n', "write part11 as a decorator of the test"),
    ],
    ids=["no clause", "not called", "empty", "of a module"],
)
def test_a_mark_that_names_no_clause_or_would_not_be_read_ends_the_run(
    pytester: pytest.Pytester, mark: str, told: str
) -> None:
    pytester.mkdir("tests").joinpath("test_inner.py").write_text(f"import pytest\n{mark}\ndef test_one(): pass\n")
    done = run(pytester)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert told in done.stderr.str()


def test_a_clause_that_refers_to_a_point_that_is_not_there_is_refused() -> None:
    document = clauses().model_dump()
    document["points"].pop("Annex 11 9")
    with pytest.raises(ValueError, match="Annex 11 9: these are referred to and not there"):
        type(clauses()).model_validate(document)


def test_every_clause_of_part_11_has_its_row() -> None:
    ids = {clause.id for clause in clauses().all}
    for section, parts in {
        "11.10": "(a) (b) (c) (d) (e) (f) (g) (h) (i) (j) (k)(1) (k)(2)",
        "11.50": "(a)(1) (a)(2) (a)(3) (b)",
        "11.100": "(a) (b) (c)",
        "11.200": "(a)(1) (a)(1)(i) (a)(1)(ii) (a)(2) (a)(3) (b)",
        "11.300": "(a) (b) (c) (d) (e)",
    }.items():
        assert {f"{section}{part}" for part in parts.split()} == {
            one for one in ids if one.startswith(f"{section}(")
        }
    assert ids >= {"11.30", "11.70"}


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """An inner run of the tests in ``tests``, with the plugin that checks marks."""
    pytester.makeini("[pytest]\nmarkers =\n    part11\n    slow\n")
    return pytester.runpytest("-p", "tests.part11.marks", *arguments, "tests")
