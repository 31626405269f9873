"""The commands `trail receipt save` and `trail receipt verify`: what a source holds against the log's operator."""

from pathlib import Path

from services.cli.installation import Installation
from services.cli.output import GOOD, as_json, safe, say
from shared.note import NoteKey
from shared.policy import Policy
from shared.receipt import Receipt, open_receipt, receipt_note
from shared.words import EvidenceError, SourceId, TrailError


def save(directory: Path, source: str, sequence: int, target: Path) -> int:
    """Write an event and its receipt out of an outbox, as two files that anyone can check."""
    home = Installation.open(directory)
    if not home.outbox_path(SourceId(source)).exists():
        raise TrailError(
            f"there is no outbox of {source} in {directory}; a source's receipts lie where it posts from"
        )
    outbox = home.outbox(SourceId(source))
    kept = outbox.kept(sequence)
    outbox.close()
    if kept is None:
        raise TrailError(f"{source} has no receipt for its event {sequence} yet; `trail deliver` asks for it again")
    payload, receipt = kept
    target.mkdir(parents=True, exist_ok=True)
    name = f"{source.replace('/', '-')}-{sequence}"
    (target / f"{name}.json").write_bytes(payload)
    (target / f"{name}.tlog-proof").write_text(receipt, "utf-8")
    say(
        f"{safe(target / name)}.tlog-proof proves where {safe(target / name)}.json is sealed, and how it was ruled."
    )
    return GOOD


def verify(
    file: Path, event: Path | None, directory: Path, log_key: str | None, policy: Path | None, *, json_: bool
) -> int:
    """Check a receipt against the event's bytes and the log's key or a policy, without asking anyone."""
    beside = event or file.with_suffix(".json")
    try:
        text, payload = file.read_text("utf-8"), beside.read_bytes()
    except UnicodeDecodeError:
        raise EvidenceError(f"{file} is no receipt: it is not text") from None
    except FileNotFoundError as error:
        raise TrailError(f"there is no {error.filename}; name the event's own bytes with --event") from None
    receipt, trusted = _open(text, payload, directory, log_key, policy)
    head = receipt.entry.header
    if json_:
        as_json(
            {"index": head.index, "verdict": head.verdict, "reason": head.reason, "sealed_at": head.sealed_at}
            | {"checkpoint": receipt.size, "good": True}
        )
        return GOOD
    say(f"[green]The receipt holds.[/] The event in {safe(beside)} is entry {head.index} of the log.")
    say(
        f"It was {safe(head.verdict)}{safe(': ' + head.reason) if head.reason else ''}, sealed at {head.sealed_at},"
    )
    say(f"and is proven in the checkpoint over {receipt.size} entries, {safe(trusted)}.")
    return GOOD


def _open(
    text: str, payload: bytes, directory: Path, log_key: str | None, policy: Path | None
) -> tuple[Receipt, str]:
    """The verified receipt, and whose word was taken for it."""
    if policy is not None:
        signer = Policy.parse(policy.read_text("utf-8")).signer(receipt_note(text))
        return open_receipt(text, payload, signer), "signed and cosigned as the policy asks"
    if log_key is not None:
        return open_receipt(text, payload, NoteKey.parse(log_key)), "signed with the log key that was given"
    known = Installation.open(directory).log
    return open_receipt(text, payload, known), f"signed with the log key in {directory / 'trial.json'}"
