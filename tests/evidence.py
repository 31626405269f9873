"""A small real log with everything that a bundle may have to show, and bundles of it to take apart."""

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography.x509 import Certificate

from services.audit.timestamps import Timestamp
from services.console.bundle import verify
from services.console.bundle.export import export
from services.console.bundle.source import Evidence
from shared.checkpoint import cosign
from shared.entry import Arrival
from shared.note import COSIGNATURE, NoteKey, split_note
from shared.policy import Group, Policy, Witness
from shared.signing import Keyring, SigningKey
from tests.notary import (
    INVESTIGATOR,
    LOG,
    LOG_KEY,
    OBSERVED,
    ORIGIN,
    OTHER_SITE,
    PERSON,
    REGISTERED,
    ROOT,
    SITE,
    STRANGER,
    TRIAL,
    Office,
    grant,
    seeded_key,
    text_key,
)
from tests.tsa import Certifier, roots_of

NEXT = seeded_key("next log key")
NEXT_KEY = NoteKey(ORIGIN, NEXT.public)
SECOND_SITE_KEY = seeded_key("site/701 second")
SPONSOR = seeded_key("sponsor")
WITNESSES = {name: seeded_key(f"witness {name}") for name in ("w1", "w2")}
OTHER_PERSON = "702-001"
COSIGNED_AT = 1_772_700_000
DRAFT_PROTOCOL = "a draft that no program can read\n"

KINDS: dict[str, dict[str, str]] = {
    "all": {},
    "range": {"first": "40", "last": "60"},
    "site": {"site": "701"},
    "site_from": {"site": "site/701", "first": "150"},
    "participant": {"participant": PERSON},
}


class Writer:
    """Posts many events as one batch, with numbers of its own choosing."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.next = {
            "site/701": office.counter("site/701").last + 1,
            "site/702": office.counter("site/702").last + 1,
        }

    def observed(self, key: Any = SITE, *, sequence: int | None = None, **changes: Any) -> Arrival:
        """An observation of a site's person; the next number unless another is given."""
        source, person = ("site/702", OTHER_PERSON) if key is OTHER_SITE else ("site/701", PERSON)
        number = self.next[source] if sequence is None else sequence
        self.next[source] = max(self.next[source], number + 1)
        data = OBSERVED | {"value": 50 + number % 50}
        event = self.office.event(
            "screening.observed",
            data,
            **({"key": key, "source": source, "subject": person, "sequence": number} | changes),
        )
        return self.office.arrival(event, key, source=source)

    def many(self, count: int) -> None:
        """Two sites, taking turns, in one batch."""
        self.office.seal([self.observed(OTHER_SITE if at % 3 == 0 else SITE) for at in range(count)])


def sealed(directory: Path) -> Office:
    """A notary whose log has known gaps, late arrivals, refusals of each sort, revocations and a rotated key.

    Some 330 entries, so that there are two tiles of entries and one above them.
    """
    office = Office.founded(directory)
    office.notary.close()
    office.keyring = Keyring(LOG, NEXT)
    office.notary = office.open()
    text = package_files("shared.protocol").joinpath("nct06027853.yaml").read_text("utf-8")
    adopted, draft = (
        {"document": document, "digest": hashlib.sha256(document.encode()).hexdigest()}
        for document in (text, DRAFT_PROTOCOL)
    )
    assert office.post("protocol.adopted", adopted, key=ROOT).admitted
    assert office.post("identity.granted", grant(SPONSOR, "sponsor/office", "sponsor"), key=ROOT).admitted
    amended = draft | {"replaces": adopted["digest"], "reconsent": False, "summary": "a draft, sealed by mistake"}
    assert office.post("protocol.amended", amended, key=SPONSOR, source="sponsor/office").admitted
    office.register()
    assert office.post("screening.registered", REGISTERED, key=OTHER_SITE, subject=OTHER_PERSON).admitted
    assert office.post("identity.granted", grant(SECOND_SITE_KEY, "site/701", "site_system"), key=ROOT).admitted
    writer = Writer(office)
    writer.many(60)
    _trouble(office, writer)
    writer.many(90)
    revoked = {"key": SECOND_SITE_KEY.id, "why": "lost"}
    assert office.post("identity.revoked", revoked, key=ROOT).admitted
    assert not office.seal([writer.observed(SECOND_SITE_KEY, source="site/701", sequence=500)]).entries[0].admitted
    assert office.post(
        "log.key_rotated", {"public_key": text_key(NEXT), "why": "a yearly change"}, key=ROOT
    ).admitted
    for _ in range(3):
        writer.many(40)
    return office


def _trouble(office: Office, writer: Writer) -> None:
    """What does not go as it should, and is sealed all the same."""
    number = writer.next["site/701"]
    later = [writer.observed(SECOND_SITE_KEY, source="site/701", sequence=number + 3)]  # three numbers are skipped
    assert [entry.admitted for entry in office.seal(later).entries] == [True, True]
    late = office.seal([writer.observed(sequence=number + 1)]).entries  # one comes late, two never do
    assert late[0].admitted

    def registered(key: SigningKey, sequence: int) -> Arrival:
        payload = office.event("screening.registered", REGISTERED, key=key, subject="701-900", sequence=sequence)
        return office.arrival(payload, key)

    refusals = [
        writer.observed(sequence=number + 1),  # equivocation
        registered(INVESTIGATOR, number + 4),  # not an investigator's event
        writer.observed(
            subject="999-001", sequence=number + 4
        ),  # a person nobody knows: refused, and the number is used up
        writer.observed(STRANGER),  # a key that nobody granted
        office.arrival(b"not an event at all", SITE),
        office.arrival(b'{"source":"site/701","sequence":"77"}', SITE),
    ]
    entries = office.seal(refusals).entries
    assert [entry.admitted for entry in entries] == [False] * len(entries)
    writer.next["site/701"] = office.counter("site/701").last + 1


@dataclass
class Case:
    """A log as a bundle is made of it."""

    office: Office
    evidence: Evidence
    certifier: Certifier | None

    @property
    def size(self) -> int:
        """Entries that are signed and cosigned."""
        return self.office.notary.size

    def bundle(self, out: Path, kind: str) -> Path:
        """One of the bundles in KINDS."""
        export(out, self.evidence, **KINDS[kind])
        return out


def witness_lines(text: str, time: int = COSIGNED_AT) -> str:
    """The cosignatures of both witnesses on a checkpoint's text."""
    return "".join(cosign(text, f"{name}.example", key, time) for name, key in WITNESSES.items())


def policy() -> Policy:
    """Both witnesses have to cosign."""
    witnesses = {
        name: Witness(name, NoteKey(f"{name}.example", key.public, COSIGNATURE), "http://127.0.0.1:1/")
        for name, key in WITNESSES.items()
    }
    return Policy((LOG_KEY,), witnesses, {"both": Group(2, ("w1", "w2"))}, "both")


def case(directory: Path) -> Case:
    """A sealed log with cosignatures on every checkpoint and, where there is an openssl, timestamps over two."""
    office = sealed(directory)
    stamps: list[Timestamp] = []
    roots: dict[str, tuple[Certificate, ...]] = {}
    certifier = Certifier(directory / "tsa") if shutil.which("openssl") else None
    if certifier is not None:
        roots["tsa-1"] = roots_of(certifier)
        sizes = [size for _, size, _ in office.notary.checkpoints.all()]
        for size in (sizes[len(sizes) // 2], sizes[-1]):
            text = text_of(office, size)
            stamps.append(Timestamp("tsa-1", size, text, "2026-03-04T10:00:00.000000Z", certifier.stamp(text)))
    evidence = Evidence(
        trial=TRIAL,
        log=office.notary.log,
        checkpoints=office.notary.checkpoints,
        policy=policy(),
        timestamps=stamps,
        roots=roots,
        note_of=lambda _size, note: note + witness_lines(split_note(note)[0]),
    )
    return Case(office, evidence, certifier)


def text_of(office: Office, size: int) -> str:
    """The text of the log's checkpoint over so many entries."""
    return next(split_note(note)[0] for _, at, note in office.notary.checkpoints.all() if at == size)


# ---- Bundles taken apart and put together again ----

Unpacked = dict[str, bytes]


def unpacked(bundle: Path) -> Unpacked:
    """A bundle's files by name."""
    with zipfile.ZipFile(bundle) as zip_:
        return {name: zip_.read(name) for name in zip_.namelist()}


def packed(files: Mapping[str, bytes]) -> bytes:
    """The files as a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zip_:
        for name, data in files.items():
            zip_.writestr(name, data)
    return buffer.getvalue()


def manifest_of(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The manifest, read."""
    read: dict[str, Any] = json.loads(files["manifest.json"])
    return read


def covered(files: Unpacked, change: Callable[[dict[str, Any]], object] = lambda _manifest: None) -> Unpacked:
    """The files under a manifest that names them as they are now: whoever changes a file can do that as well."""
    manifest = manifest_of(files)
    manifest["files"] = {
        name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items()) if name != "manifest.json"
    }
    change(manifest)
    return files | {"manifest.json": json.dumps(manifest, indent=1, ensure_ascii=False).encode()}


_remembered = lru_cache(maxsize=None)(verify.ed25519)  # one bundle's signatures are asked for again and again


def judged(files: Mapping[str, bytes], directory: Path, own: verify.Policy | None = None) -> str:
    """What verify.py says is wrong with a bundle; empty when it holds. Anything but a sentence is an error."""
    path = directory / "judged.zip"
    path.write_bytes(packed(files))
    with patch.object(verify, "ed25519", _remembered):
        try:
            verify.Check(verify.Files(path), own)()
        except verify.Broken as error:
            return str(error)
    return ""
