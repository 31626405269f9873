"""The command `trail verify --hashes-only`: every hash on all cores, if asked from where an earlier run ended."""

import json
from pathlib import Path

from services.audit.hashes import VerifiedTo, verify_hashes
from services.cli.installation import Installation
from services.cli.output import GOOD, WRONG, as_json, complain, progress, safe, say
from services.cli.reading import reading, settled_size
from shared.checkpoint import open_checkpoint
from shared.merkle import Frontier
from shared.note import NoteKey
from shared.words import EvidenceError, LeafHash, TrailError


def verify_hashes_only(directory: Path, log_key: str | None, remember: Path | None, *, json_: bool) -> int:
    """Recompute leaf hashes, links, the tree and the signed roots; say what was found.

    ``remember``: the reader's own file of how far it was verified before; read if it is there, and written anew.
    """
    home = Installation.open(directory)
    given = None if log_key is None else NoteKey.parse(log_key)
    if given not in {None, home.log.at(0), home.log.current}:
        raise EvidenceError("the key that was given is neither this log's first nor its present one, by trial.json")
    before = _recall(remember)
    with reading(home) as source, progress("hashing", source.log.size()) as advance:
        stop = settled_size(source)
        signed = [one for one in source.checkpoints.all() if one[1] <= stop]
        if not signed:
            raise EvidenceError("no checkpoint is signed: there is nothing to compare the hashes with")
        roots = {size: open_checkpoint(note, home.log).root for _, size, note in signed}
        report = verify_hashes(home.places.log, roots, since=before, stop=stop, progress=advance)
    size, fault = report.verified.tree.size, report.fault
    if fault is None and remember is not None:
        _write(remember, report.verified)
    if json_:
        told = None if fault is None else {"index": fault.index, "what": fault.what}
        as_json({"entries": size, "since": before.tree.size, "fault": told, "good": fault is None})
    elif fault is not None:
        complain(f"entry {fault.index}: {fault.what}")
    else:
        begun = f" {before.tree.size} of them were verified before." if before.tree.size else ""
        say(f"[green]The hashes hold[/]: every leaf, link and signed root of {size} entries.{begun}")
        whose = "as given" if given is not None else "from trial.json: compare it with the one you were given"
        say(f"Log key {safe((given or home.log.current).vkey())} ({whose})")
        say(f"Root: {report.verified.tree.root().hex()}. Signatures and rulings were not checked: `trail verify`.")
    return GOOD if fault is None else WRONG


def _recall(path: Path | None) -> VerifiedTo:
    if path is None or not path.exists():
        return VerifiedTo()
    try:
        known = json.loads(path.read_text("utf-8"))
        tree = Frontier.from_bytes(known["size"], bytes.fromhex(known["peaks"]))
        return VerifiedTo(tree, LeafHash(bytes.fromhex(known["leaf"])))
    except (ValueError, KeyError, TypeError, AttributeError, EvidenceError):
        raise TrailError(f"{safe(path)} does not say how far a log was verified; remove it to begin anew") from None


def _write(path: Path, verified: VerifiedTo) -> None:
    known = {"size": verified.tree.size, "peaks": verified.tree.to_bytes().hex(), "leaf": verified.leaf.hex()}
    draft = path.with_name(path.name + ".new")
    draft.write_text(json.dumps(known) + "\n", "utf-8")
    draft.replace(path)
