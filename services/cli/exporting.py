"""The command ``trail export bundle``: what of a log leaves the house, in a form that needs nothing of ours."""

from dataclasses import asdict
from pathlib import Path

from services.audit.authorities import read_authorities
from services.audit.timestamps import Timestamps
from services.cli.installation import LOCAL_WITNESS, Installation
from services.cli.output import GOOD, as_json, progress, safe, say
from services.cli.reading import reading
from services.console.bundle.export import Exported, export
from services.console.bundle.source import Evidence
from services.console.bundle.verify import title
from shared.policy import NONE, Policy


def export_bundle(
    data: Path,
    out: Path,
    *,
    site: str | None = None,
    participant: str | None = None,
    first: str | None = None,
    last: str | None = None,
    json_: bool = False,
) -> int:
    """Write an evidence bundle of a data directory's log and say what it is; the process's exit code.

    ``first`` and ``last`` (``--from``, ``--to``): the first and last entry, each as an index or an RFC 3339 time.
    Raises TrailError when the bundle cannot be made as asked, EvidenceError when the log is not what was signed.
    """
    home = Installation.open(data)
    policy = home.policy() or Policy((home.log_key,), {}, {})
    authorities = read_authorities(home.directory / "timestamping.json").authorities
    with reading(home) as source, progress("exporting", None) as advance:
        evidence = Evidence(
            trial=home.trial,
            log=source.log,
            checkpoints=source.checkpoints,
            policy=policy,
            timestamps=Timestamps(source.checkpoints.engine).all(),
            roots={one.name: one.roots for one in authorities},
            note_of=source.cosignatures.note,
            until=None if policy.quorum == NONE else source.cosignatures.latest(policy),
        )
        done = export(out, evidence, site=site, participant=participant, first=first, last=last, progress=advance)
        behind = source.log.size() - done.size
    if json_:
        as_json({"bundle": str(out), **asdict(done)})
    else:
        _tell(done, out, behind)
    return GOOD


def _tell(done: Exported, out: Path, behind: int) -> None:
    chosen, counts = done.selection, done.counts
    what = title(chosen.kind, chosen.of, chosen.start, chosen.stop)
    say(
        f"[green]{safe(out)}[/] holds {safe(what)}: {counts['entries']} entries ({counts['admitted']} admitted, "
        f"{counts['refused']} refused), proven in a checkpoint over {done.size} entries."
    )
    if chosen.kind in {"site", "participant"}:
        say(f"It is made of the entries {chosen.start} to {chosen.stop - 1}, and what it takes to judge them.")
    if behind:
        say(f"[yellow]The log's last {behind} entries are not in it: no checkpoint over them is cosigned yet.[/]")
    if done.quorum == NONE:
        say(
            "[yellow]No witness has to cosign under this policy, so the bundle cannot show that all see one log.[/]"
        )
    elif done.quorum == LOCAL_WITNESS:
        say("[yellow]Its only witness is this machine's own; one of another organisation would say more.[/]")
    say(f"Whoever gets it checks it offline: python3 verify.py {safe(out.name)}, or verify.html in a browser.")
