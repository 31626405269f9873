"""What is told of the protocol's versions: the list, the assumptions, the impact of one."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import Any

from rich.table import Table

from services.cli.installation import Installation
from services.cli.output import as_json, out, safe, say
from services.cli.reading import reading
from services.console.impact import Impact, SiteImpact, impact
from services.console.protocols import Protocols, SealedVersion, protocols
from services.console.replay import as_of, until
from services.safety.decide import SafetyDecider
from services.screening.eligibility import Rules
from shared.protocol.model import load_protocol, protocol_digest
from shared.words import TrailError


def versions_of(home: Installation, moment: str | None = None) -> Protocols:
    """The versions of a log's protocol, as known at a moment."""
    known = until(moment)
    with reading(home) as source:
        return protocols(takewhile(known, source.log.entries()))


def list_versions(directory: Path, moment: str | None, *, json_: bool) -> None:
    """List every version, who signed it, and where it is in force."""
    known = versions_of(Installation.open(directory), moment)
    rows = [_row(known, one) for one in known.versions.values()]
    if json_:
        as_json(rows)
        return
    table = Table("version", "entry", "digest", "signed by", "in force", "summary")
    for row in rows:
        where = [f"{one['site']}: {one['state']} {one['effective']}".strip() for one in row["sites"]]
        if row["began_with"]:
            where.append("wherever no other is activated")
        summary = f"cannot be used: {row['problem']}" if row["problem"] else row["summary"]
        again = " (asks for consent again)" if row["reconsent"] else ""
        signed = "\n".join(one["told"] for one in row["signed"]) or "nobody"
        cells = (row["version"], row["entry"], row["digest"][:12], signed, "\n".join(where) or "nowhere")
        table.add_row(*map(safe, cells), safe(f"{summary}{again}"))
    out.print(table)


def _row(known: Protocols, version: SealedVersion) -> dict[str, Any]:
    sites = []
    for site in sorted(known.activations):
        one = known.at(version, site)
        if one is not None:
            now = known.in_force_at(site)
            began = known.begun(version, one)
            state = "from" if not began else "since" if now is version else "was, since"
            sites.append(asdict(one) | {"state": state})
    return {
        "version": version.name,
        "digest": version.digest,
        "entry": version.entry,
        "sealed_at": version.sealed_at,
        "replaces": version.replaces,
        "summary": version.summary,
        "reconsent": version.reconsent,
        "problem": version.problem,
        "signed": [asdict(one) | {"told": one.told()} for one in version.signed],
        "sites": sites,
        "began_with": version.digest == known.began_with,
    }


def show_assumptions(directory: Path, moment: str | None, *, json_: bool) -> None:
    """Tell each assumption of the newest version in force, and whether it is confirmed, by whom and when."""
    known = versions_of(Installation.open(directory), moment)
    version = known.newest()
    standing = known.assumptions(version)
    if json_:
        rows = [
            one.assumption.model_dump() | {"status": one.status, "by": None if one.by is None else asdict(one.by)}
            for one in standing
        ]
        as_json({"version": version.name, "digest": version.digest, "assumptions": rows})
        return
    say(f"Protocol {safe(version.name)} (entry {version.entry}) assumes what the registry does not say:")
    table = Table("id", "what", "taken", "status")
    for one in standing:
        table.add_row(*map(safe, (one.assumption.id, one.assumption.text, one.assumption.value, one.told())))
    out.print(table)


def tell_impact(directory: Path, digest: str | None, file: Path | None, *, json_: bool) -> None:
    """Tell what a version would change, of a sealed one or a draft.

    Raises TrailError unless exactly one of them is named.
    """
    if (digest is None) == (file is None):
        raise TrailError("name one version: --digest of a sealed one, or --file of a draft")
    home = Installation.open(directory)
    known = versions_of(home)
    sealed = None if digest is None else known.version(digest)
    text = file.read_text("utf-8") if file is not None else sealed.document if sealed is not None else ""
    if sealed is None:
        sealed = known.versions.get(protocol_digest(text))
    rules = Rules(load_protocol(text), protocol_digest(text))
    with reading(home) as source:
        screening = as_of(source.log.entries(), None)
        safety = as_of(source.log.entries(), None, SafetyDecider())
    found = impact(screening, safety, known, rules, sealed)
    if json_:
        as_json(asdict(found))
    else:
        _tell_impact(found)


def _tell_impact(found: Impact) -> None:
    say(f"[bold]Protocol {safe(found.version)}[/], {found.digest}")
    if found.reconsent is None:
        say("It is a draft: whether anybody has to consent again is for its amendment to say.")
    elif not found.reconsent:
        say("The amendment asks nobody to consent again.")
    for site in found.sites:
        one = site.activation
        where = "not activated" if one is None else f"from {one.effective} on (entry {one.entry})"
        say(f"\n[bold]Site {safe(site.site)}[/]: {where}")
        _tell_site(site, found.reconsent)


def _tell_site(site: SiteImpact, reconsent: bool | None) -> None:
    if reconsent is not False:
        would = "would have to consent again, if it asks for it" if reconsent is None else "have to consent again"
        say(f"  {len(site.consent_again)} {would}{_named(site.consent_again)}")
    say(f"  {len(site.rescreen)} would be judged otherwise and have to be screened again")
    for one in site.rescreen:
        say(f"    {safe(one.subject)} (decision in entry {one.index}): {safe(one.what)}")
    if site.kept:
        say(f"  {len(site.kept)} infused or closed, and judged as before{_named(site.kept)}")


def _named(codes: Sequence[str]) -> str:
    return f": {safe(', '.join(codes))}" if codes else ""
