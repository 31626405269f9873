"""What the commands ``trail review`` do."""

from contextlib import suppress
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path

from rich.table import Table

from services.audit.register import ReviewQuery
from services.cli.installation import Installation
from services.cli.output import GOOD, WRONG, as_json, out, safe, say
from services.cli.persons import register_of
from services.cli.reading import reading
from services.cli.signing import sign
from services.cli.speaking import Speaker
from services.console.replay import until
from services.console.reviews import Query, Said, Trail, trail
from shared.envelope import read_envelope
from shared.outbox import Outcome
from shared.words import RefusedError, SourceId, TrailError, source_name


class Reviewer(Speaker):
    """A monitor who reviews, or a site that answers."""

    def record(self, participant: str | None, first: int, last: int | None, found: str, queries: list[str]) -> int:
        """Seal a review and have its author sign it; the exit code."""
        assert self.by is not None
        with reading(self.home) as source:
            newest = source.log.size() - 1
        said = {"first": first, "as_of": newest if last is None else last, "found": found, "queries": queries}
        outcome = self.seal("review.recorded", said, participant)
        if outcome.verdict == "refused":
            return WRONG
        return sign(
            self.data,
            self.by,
            [outcome.index],
            "review",
            broker=self.broker,
            passphrase_file=self.passphrase_file,
        )

    def ask(self, entries: list[int], text: str, site: str | None) -> int:
        """Raise a query about entries; the exit code."""
        subjects, records = set(), []
        with reading(self.home) as source:
            for index in entries:
                entry = source.log.entry(index)
                records.append({"index": index, "leaf": entry.leaf.hex()})
                with suppress(RefusedError):  # what cannot be read is about nobody
                    subjects.add(read_envelope(entry.body).subject)
        named = sorted(one for one in subjects if one is not None)
        if len(named) > 1:
            raise TrailError(f"a query is about one participant, and these entries are about {' and '.join(named)}")
        register = register_of(self.home)
        participant = named[0] if named and named[0] in register.participants else None
        home = source_name(register.participants[participant]) if participant else site
        if home is None:
            raise TrailError("these entries are about no participant: say with --site which site is asked")
        name = _unused(entries[0], register.queries)
        outcome = self.seal(
            "review.query_raised", {"query": name, "site": home, "records": records, "text": text}, participant
        )
        if outcome.verdict == "admitted":
            say(f"Query {name} is open: site {safe(home)} answers with `trail review answer {name} --text ...`")
        return _code(outcome)

    def answer(self, name: str, text: str) -> int:
        """Answer a query; the exit code."""
        known = self._query(name)
        system = SourceId(f"site/{known.site}")
        said = {"query": name, "text": text}
        return _code(self.seal("review.query_answered", said, known.subject, system))

    def close(self, name: str, text: str) -> int:
        """Close a query; the exit code."""
        known = self._query(name)
        return _code(self.seal("review.query_closed", {"query": name, "text": text}, known.subject))

    def _query(self, name: str) -> ReviewQuery:
        known = register_of(self.home).queries.get(name)
        if known is None:
            raise TrailError(f"no query {name} was raised; `trail review show` lists them")
        return known


def tell_trail(directory: Path, participant: str | None, moment: str | None, *, json_: bool) -> int:
    """Say what waits for review, which queries stand where, and what was reviewed; the exit code."""
    with reading(Installation.open(directory)) as source:
        made = trail(takewhile(until(moment), source.log.entries()))
    if json_:
        as_json(_as_data(made, participant))
    else:
        _tell(made, participant)
    return GOOD


def _tell(made: Trail, participant: str | None) -> None:
    table = Table("entry", "participant", "why a reviewer should look", title="Not reviewed yet")
    for one in made.unreviewed(participant):
        table.add_row(str(one.index), safe(one.subject or ""), safe(one.why))
    out.print(table if table.row_count else "[green]Nothing notable waits for review.[/]")
    for query in _queries(made, participant):
        about = f" about {query.subject}" if query.subject else ""
        say(f"[bold]{safe(query.name)}[/] to site {safe(query.site)}{safe(about)}: {query.standing}")
        for word, step in (("asked", query.asked), *(("answered", one) for one in query.answers)):
            _tell_step(word, step)
        if query.closed is not None:
            _tell_step("closed", query.closed)
    for review in made.reviews:
        if participant in {None, review.subject}:
            of = review.subject or f"entries {review.first} to {review.as_of}"
            said = f"reviewed {of} as of entry {review.as_of}: {review.found}"
            say(f"entry {review.index}, {safe(review.source)}, {review.sealed_at}: {safe(said)}")


def _tell_step(word: str, step: Said) -> None:
    say(f"  {word} by {safe(step.source)} (entry {step.index}, {step.sealed_at}): {safe(step.text)}")


def _queries(made: Trail, participant: str | None) -> list[Query]:
    return [one for one in made.queries.values() if participant in {None, one.subject}]


def _as_data(made: Trail, participant: str | None) -> dict[str, object]:
    return {
        "unreviewed": [asdict(one) for one in made.unreviewed(participant)],
        "queries": [asdict(one) | {"standing": one.standing} for one in _queries(made, participant)],
        "reviews": [asdict(one) for one in made.reviews if participant in {None, one.subject}],
    }


def _unused(entry: int, known: dict[str, ReviewQuery]) -> str:
    names = (f"Q{entry}" + (f"-{number}" if number > 1 else "") for number in range(1, len(known) + 2))
    return next(name for name in names if name not in known)


def _code(outcome: Outcome) -> int:
    return WRONG if outcome.verdict == "refused" else GOOD
