"""docs/safety.md is true and complete: its drafts are valid, and it names what can be posted, decided and set."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from shared.drafts import Draft, read_draft
from shared.events import CATALOGUE, short_type
from shared.events.identity import KINDS_OF_ROLE
from shared.protocol.safety import SafetyPlan
from shared.words import RefusedError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "safety.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
SITES = (ROOT / "docs" / "sites.md").read_text("utf-8")
TRIAL = "NCT06027853"

SAFETY = {name: row for name, row in CATALOGUE.items() if short_type(name).startswith(("safety.", "treatment."))}
DECIDED = {short_type(name) for name, row in SAFETY.items() if row.roles == {"safety"}}
POSTED = {short_type(name) for name in SAFETY} - DECIDED


def drafts(text: str) -> list[str]:
    """Every line of a page that is a draft."""
    return [line for line in text.splitlines() if line.startswith('{"source"')]


def commands() -> list[str]:
    """What docs/sites.md has its client post, as drafts."""
    found = re.findall(r"^node post-event\.mjs (\S+) (\S+) '(.*)'$", SITES, re.MULTILINE)
    time = "2026-03-02T10:00:00+08:00"
    return [
        f'{{"source": "site/701", "type": "{type_}", "subject": "{who}", "time": "{time}", "data": {data}}}'
        for type_, who, data in found
    ]


def keys(model: Any) -> Iterator[str]:
    """Every key of a part of the trial's file, and of the parts in it."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        for name, field in model.model_fields.items():
            yield name
            yield from keys(field.annotation)
    else:
        for part in get_args(model):
            yield from keys(part)


@pytest.mark.parametrize("line", [*drafts(PAGE), *drafts(README), *commands()])
@pytest.mark.part11("11.10(k)(1)")
def test_every_draft_in_the_documents_is_one_that_its_source_may_post(line: str) -> None:
    draft = read_draft(line.encode())
    draft.check(TRIAL)
    assert draft.signing_role in draft.event_type.roles
    assert draft.source.partition("/")[0] in KINDS_OF_ROLE[draft.signing_role]


def test_a_draft_that_is_wrong_would_be_noticed() -> None:
    line = drafts(PAGE)[0]
    assert '"grade": 3' in line
    with pytest.raises(RefusedError, match=r"data\.grade"):
        Draft.check(read_draft(line.replace('"grade": 3', '"grade": 6').encode()), TRIAL)


def test_every_event_that_a_site_or_the_sponsor_posts_is_explained_with_an_example() -> None:
    assert {name for name in POSTED if f"`{name}`" not in PAGE} == set()
    assert POSTED - {read_draft(line.encode()).type for line in drafts(PAGE)} == set()


def test_the_page_for_sites_posts_an_adverse_event() -> None:
    assert "safety.event_reported" in {read_draft(line.encode()).type for line in commands()}


@pytest.mark.part11("11.10(k)(1)")
def test_every_decision_has_a_row_that_says_what_to_do() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \| [^|]+ \| [^|]+ \|$", PAGE, re.MULTILINE)
    assert DECIDED - set(rows) == set()


def test_every_key_of_the_trial_files_safety_part_is_explained() -> None:
    section = PAGE.partition("## The trial's file")[2].partition("\n## ")[0]
    found = set(keys(SafetyPlan))
    assert {"fatal_days", "unless_shorter_than_hours", "eliminate_from"} <= found
    assert {key for key in found if f"`{key}`" not in section} == set()
