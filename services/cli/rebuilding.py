"""The command `trail rebuild`: a lost database is made again from what is published of the log."""

from pathlib import Path

from services.audit.rebuilding import PublishedLog, rebuild
from services.audit.tile_store import store_at
from services.cli.installation import Installation
from services.cli.output import GOOD, as_json, progress, safe, say
from services.cli.stack import is_running
from shared.words import TrailError


def rebuild_log(directory: Path, tiles: str | None, *, json_: bool) -> int:
    """Make the log of a data directory again, whose keys and other small files are there.

    Raises TrailError when the stack runs or there is a log, EvidenceError when what is published does not verify.
    """
    home = Installation.open(directory)
    if is_running(home.directory):
        raise TrailError("the stack is running; stop it first")
    published = PublishedLog(store_at(tiles or str(home.tiles_path), read_only=True))
    with progress("verifying, then writing", 2 * published.size) as advance:
        places = home.places_for("notary")
        report = rebuild(published, places, home.trial, home.log_key, home.policy(), advance)
    if json_:
        told = {"entries": report.entries, "admitted": report.admitted, "refused": report.refused}
        as_json(told | {"root": report.root})
        return GOOD
    say(
        f"[green]The log is made again[/] in {safe(str(home.places.log))}: {report.entries} entries "
        f"({report.admitted} admitted, {report.refused} refused), as the published checkpoint proves."
    )
    say(
        "What was sealed after that checkpoint is not in it. Start the stack: a witness that has seen more says "
        "so, and nothing is sealed then. Sites send again what has no receipt; `trail fsck` compares the receipts "
        "that they hold."
    )
    return GOOD
