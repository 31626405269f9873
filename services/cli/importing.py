"""The command that brings in a study held elsewhere: ``trail import sdtm``."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from services.cli import show
from services.cli.beginning import DEFAULT_TRIAL, begin_log, trial_file
from services.cli.delivery import line, settled
from services.cli.installation import Installation
from services.cli.output import GOOD, WRONG, as_json, coloured, complain, out, progress, safe, say
from services.cli.reading import reading
from services.cli.running import running_stack
from services.cli.sdtm import Study, Unmapped, read_study
from services.cli.stack import broker_url, is_running
from services.console.replay import as_of, participants
from shared.decider import Machine
from shared.drafts import Draft
from shared.identities import ROOT_SOURCE
from shared.outbox import Outcome
from shared.protocol.model import Protocol, load_protocol
from shared.protocol.rule_kinds import AllOf, AnyOf, CreatinineClearance, Rule, TimesUln
from shared.words import SourceId, TrailError

_SETTLE: Final = 600.0
# Posted at once, a whole study would wait for its receipts longer than couriers do, and be sent again and again.
_PART: Final = 2000


def import_study(
    directory: Path, source: Path, broker: str | None = None, protocol: str | None = None, *, json_: bool
) -> int:
    """Post a study held as SDTM under a trial's file, and report the decisions it leads to.

    ``protocol`` names the trial's file of a log that begins with this; one that has begun has its own. Raises
    TrailError when it has begun with another.
    """
    text = _trial_text(directory, protocol)
    trial = load_protocol(text)
    with progress("reading SAS transport files", None):
        study = read_study(source, trial)
    begun = (directory / "trial.json").exists()
    home = Installation.open(directory) if begun else begin_log(directory, protocol=text, practice=True)
    with _stack_if_needed(home, broker) as url:
        outcomes = asyncio.run(_import(home, url, study.drafts))
    with reading(home) as read:
        machine = as_of(read.log.entries(), None)
    refused = [one for _, one in outcomes if one.verdict == "refused"]
    summary = _summary(study, trial, machine, len(outcomes), refused)
    if json_:
        as_json(summary)
    else:
        _tell_import(study, machine, summary)
    return WRONG if refused else GOOD


def _trial_text(directory: Path, protocol: str | None) -> str:
    if not (directory / "trial.json").exists():
        return trial_file(protocol or DEFAULT_TRIAL)
    begun_with = (directory / "protocol.yaml").read_text("utf-8")
    if protocol is not None and trial_file(protocol) != begun_with:
        raise TrailError(
            f"the log in {directory} began with another trial file than {protocol}; leave --protocol out, or "
            "choose another directory with --data"
        )
    return begun_with


@contextmanager
def _stack_if_needed(home: Installation, broker: str | None) -> Iterator[str]:
    """The broker's address: the one given, that of the stack that is running, or of one started for now."""
    if broker is not None or is_running(home.directory):
        yield broker or broker_url(home.directory)
        return
    with running_stack(home) as stack:
        yield stack.url


async def _import(home: Installation, url: str, drafts: Sequence[Draft]) -> list[tuple[SourceId, Outcome]]:
    async with line(home, url) as connected:
        connected.post.put(connected.post.missing_grants(drafts))
        await connected.deliver([ROOT_SOURCE], timeout=_SETTLE)
        kept: dict[SourceId, list[int]] = defaultdict(list)
        with progress("posting events", len(drafts)) as advance:
            for start in range(0, len(drafts), _PART):
                part = connected.post.put(drafts[start : start + _PART])
                await connected.deliver(list(part))
                for source_id, numbers in part.items():
                    kept[source_id] += numbers
                advance(min(start + _PART, len(drafts)))
        with progress("waiting for decisions", None):
            if not await settled(connected.js, home.topology, _SETTLE):
                raise TrailError("the services did not come to rest; `trail doctor` says why")
        return list(connected.post.outcomes(kept))


def _summary(
    study: Study, trial: Protocol, machine: Machine, posted: int, refused: Sequence[Outcome]
) -> dict[str, Any]:
    codes = {draft.subject for draft in study.drafts}
    known = [one for code, one in participants(machine) if code in codes]
    decided = [one.decision for one in known if one.decision is not None]
    laboratory = [row.id for row in trial.rows if row.rule is not None and _of_laboratory(row.rule)]
    return {
        "participants": study.participants,
        "sites": len(study.sites),
        "events": posted,
        "repeated": len(study.drafts) - posted,
        "refused": [{"event": one.id, "index": one.index, "reason": one.reason} for one in refused],
        "decisions": len(decided),
        "standing": dict(sorted(Counter(one.standing for one in decided).items())),
        "laboratory": {
            name: dict(sorted(Counter(one.verdicts[name] for one in decided).items())) for name in laboratory
        },
        "types": dict(sorted(Counter(draft.type for draft in study.drafts).items())),
        "unmapped": _counts(study.unmapped),
        "parts": _counts(study.parts),
    }


def _counts(left: Sequence[Unmapped]) -> list[dict[str, Any]]:
    return [asdict(one) for one in left]


def _of_laboratory(rule: Rule) -> bool:
    """Whether a criterion compares a value with the laboratory's limits, or rests on creatinine."""
    if isinstance(rule, AllOf | AnyOf):
        return any(map(_of_laboratory, rule.parts))
    return isinstance(rule, TimesUln | CreatinineClearance)


def _tell_import(study: Study, machine: Machine, summary: dict[str, Any]) -> None:
    say(
        f"{summary['events']} events of {summary['participants']} participants at {summary['sites']} sites are "
        f"sealed; {summary['repeated']} drafts repeated another word for word."
    )
    say(
        f"[bold]{summary['decisions']} decisions[/]: "
        + ", ".join(f"{n} {coloured(s)}" for s, n in summary["standing"].items())
    )
    for name, counts in summary["laboratory"].items():
        say(f"  {name}: " + ", ".join(f"{count} {verdict.replace('_', ' ')}" for verdict, count in counts.items()))
    _tell_left("Not mapped", "rows", study.unmapped)
    _tell_left("Left out of rows that were mapped", "times", study.parts)
    for refused in summary["refused"][:20]:
        complain(f"entry {refused['index']}: refused, {refused['reason']}")
    missing = Counter(
        blocker.item
        for _, one in participants(machine)
        if one.decision is not None and one.decision.standing == "undetermined"
        for blocker in show.blockers_of(machine, one)
    )
    if missing:
        say(
            "What most undetermined participants lack: "
            + ", ".join(f"{safe(item)} ({n})" for item, n in missing.most_common(8))
        )


def _tell_left(title: str, unit: str, left: Sequence[Unmapped]) -> None:
    table = Table(unit, "domain", "what", "why", title=title, title_justify="left")
    ordered = sorted(left, key=lambda one: (one.domain, one.why, one.what))
    for (domain, why), ones in groupby(ordered, key=lambda one: (one.domain, one.why)):
        found = list(ones)
        what = ", ".join(f"{one.what} {one.count}" for one in found)
        table.add_row(str(sum(one.count for one in found)), safe(domain), safe(what), safe(why))
    out.print(table)
