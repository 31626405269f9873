"""What goes into an evidence bundle: all that was asked for, what it takes to judge that, and nothing else."""

import hashlib
import json
import subprocess
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from services.audit.checkpoints import Checkpoints
from services.audit.log import Log
from services.audit.tiles import read_bundle, tiles_of
from services.console.bundle import verify
from services.console.bundle.export import export
from services.console.bundle.source import Evidence
from shared.entry import Entry
from shared.envelope import read_envelope
from shared.note import split_note
from shared.policy import Policy
from shared.receipt import open_receipt
from shared.words import EvidenceError, RefusedError, TrailError
from tests.evidence import KINDS, NEXT_KEY, OTHER_PERSON, Case, case, judged, manifest_of, unpacked, witness_lines
from tests.notary import LOG_KEY, PERSON, SITE, TRIAL, Office
from tests.owner import change, copy_of
from tests.synthetic_log import found, grow


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(tmp_path_factory.mktemp("sealed"))


@pytest.fixture(scope="module")
def entries(sealed: Case) -> list[Entry]:
    return list(sealed.evidence.log.entries())


def entries_in(files: dict[str, bytes]) -> set[int]:
    return {int(name.split("/")[1]) for name in files if name.startswith("entries/")}


def named(entry: Entry) -> tuple[str, str | None]:
    """Source and participant of an entry's event; empty where it is none."""
    try:
        envelope = read_envelope(entry.body)
    except RefusedError:
        return "", None
    return envelope.source, envelope.subject


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_log_and_arguments_give_the_same_bytes(sealed: Case, tmp_path: Path, kind: str) -> None:
    first, second = sealed.bundle(tmp_path / "first.zip", kind), sealed.bundle(tmp_path / "second.zip", kind)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.part11("11.10(b)")
def test_every_kind_of_bundle_verifies_and_says_what_it_is(sealed: Case, tmp_path: Path, kind: str) -> None:
    files = unpacked(sealed.bundle(tmp_path / "bundle.zip", kind))
    assert judged(files, tmp_path) == ""
    manifest = manifest_of(files)
    assert manifest["format"] == "trialtrail-bundle/1"
    assert (manifest["trial"], manifest["origin"], manifest["size"]) == (TRIAL, LOG_KEY.name, sealed.size)
    assert manifest["selection"] == kind.removesuffix("_from")
    assert manifest["files"] == {
        name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items()) if name != "manifest.json"
    }
    for name in ("verify.py", "verify.html"):
        assert files[name] == Path(verify.__file__).with_name(name).read_bytes()


def test_a_whole_log_is_laid_out_as_tlog_tiles_has_it(sealed: Case, entries: list[Entry], tmp_path: Path) -> None:
    files = unpacked(sealed.bundle(tmp_path / "bundle.zip", "all"))
    tiles = list(tiles_of(sealed.size))
    assert len(tiles) == 3  # a full one, a partial one, and one above them
    expected = {tile.path for tile in tiles} | {tile.bundle_path for tile in tiles if tile.level == 0}
    assert {name for name in files if name.startswith("tile/")} == expected
    for tile in tiles:
        assert files[tile.path] == b"".join(sealed.evidence.log.subtrees.hashes(tile))
    raw = [one for tile in tiles if tile.level == 0 for one in read_bundle(files[tile.bundle_path])]
    assert raw == [entry.raw for entry in entries]


def test_a_range_goes_outward_to_signed_checkpoints_and_leaves_nothing_out(sealed: Case, tmp_path: Path) -> None:
    files = unpacked(sealed.bundle(tmp_path / "bundle.zip", "range"))
    manifest = manifest_of(files)
    signed = {size for _, size, _ in sealed.evidence.checkpoints.all()}
    start, stop = manifest["from"], manifest["to"]
    assert {start, stop} <= signed
    assert start <= 40
    assert stop > 60
    assert not signed & (set(range(start + 1, 41)) | set(range(61, stop)))
    assert set(range(start, stop)) <= entries_in(files)
    assert {f"checkpoints/{start}", f"checkpoints/{stop}", f"consistency/{start}-{stop}"} <= files.keys()


def test_a_sites_bundle_holds_all_that_its_keys_signed_and_what_the_log_says_about_it(
    sealed: Case, entries: list[Entry], tmp_path: Path
) -> None:
    files = unpacked(sealed.bundle(tmp_path / "bundle.zip", "site"))
    held = entries_in(files)
    for entry in entries:
        source, subject = named(entry)
        known = "signature" not in entry.header.reason and "not been granted" not in entry.header.reason
        about_it = entry.admitted and b'"source":"site/701"' in entry.body
        if (source == "site/701" and known) or (entry.admitted and subject == PERSON) or about_it:
            assert entry.index in held, entry.header
    refused = [entry for entry in entries if not entry.admitted]
    assert len([entry for entry in refused if entry.index in held]) == 4
    assert not [index for index in held if named(entries[index])[0] == "site/702"]


def test_a_site_that_begins_later_brings_the_entry_that_shows_how_far_its_numbers_had_come(
    sealed: Case, entries: list[Entry], tmp_path: Path
) -> None:
    files = unpacked(sealed.bundle(tmp_path / "bundle.zip", "site_from"))
    start = manifest_of(files)["from"]
    before = [index for index in entries_in(files) if index < start and named(entries[index])[0] == "site/701"]
    numbers = [int(read_envelope(entries[index].body).sequence) for index in before if entries[index].admitted]
    highest = max(
        int(read_envelope(entry.body).sequence)
        for entry in entries[:start]
        if entry.admitted and named(entry)[0] == "site/701"
    )
    assert numbers == [highest]


@pytest.mark.part11("11.10(b)")
def test_a_participants_bundle_holds_every_entry_about_them(
    sealed: Case, entries: list[Entry], tmp_path: Path
) -> None:
    files = unpacked(sealed.bundle(tmp_path / "bundle.zip", "participant"))
    held = entries_in(files)
    assert {entry.index for entry in entries if entry.admitted and named(entry)[1] == PERSON} <= held
    assert not [index for index in held if named(entries[index])[1] == OTHER_PERSON]
    for index in held:
        assert (
            open_receipt(files[f"proofs/{index}.tlog-proof"].decode(), entries[index].body, NEXT_KEY).size
            == sealed.size
        )


def test_who_is_not_concerned_is_not_named(sealed: Case, tmp_path: Path) -> None:
    export(tmp_path / "bundle.zip", sealed.evidence, site="702")
    identities = json.loads(unpacked(tmp_path / "bundle.zip")["identities.json"])
    assert {one["source"] for one in identities} == {"admin/root", "service/audit", "sponsor/office", "site/702"}


def test_identities_say_who_held_which_key_from_where_to_where(sealed: Case, tmp_path: Path) -> None:
    files = unpacked(sealed.bundle(tmp_path / "bundle.zip", "all"))
    rows = {one["key"]: one for one in json.loads(files["identities.json"])}
    known = sealed.evidence.log.register(TRIAL).identities
    assert {key: (one["granted"], one["revoked"], one["source"]) for key, one in rows.items()} == {
        key: (one.granted, one.revoked, one.source) for key, one in known.items()
    }
    assert rows[SITE.id]["roles"] == ["site_system"]


@pytest.mark.part11("11.10(k)(2)")
def test_every_sealed_version_of_the_protocol_is_there_to_read(sealed: Case, tmp_path: Path) -> None:
    files = unpacked(sealed.bundle(tmp_path / "bundle.zip", "participant"))
    assert sorted(name for name in files if name.startswith("protocols/")) == [
        "protocols/1.0.yaml",
        "protocols/entry-8.yaml",
    ]


def test_openssl_takes_the_timestamps_by_the_very_command_that_verify_py_prints(
    sealed: Case, tmp_path: Path
) -> None:
    if sealed.certifier is None:
        pytest.skip("the openssl command is not installed")
    bundle = sealed.bundle(tmp_path / "bundle.zip", "all")
    for name, data in unpacked(bundle).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    told = verify.Check(verify.Files(bundle), None)()
    commands = [line.strip().split() for sentence in told for line in sentence.split("\n") if "openssl" in line]
    assert len(commands) == 2
    for command in commands:
        assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    (tmp_path / command[command.index("-data") + 1]).write_text("something else")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode != 0


def test_a_part_brings_the_first_timestamp_that_covers_each_of_its_entries(sealed: Case, tmp_path: Path) -> None:
    if sealed.certifier is None:
        pytest.skip("the openssl command is not installed")
    early, late = sorted(one.size for one in sealed.evidence.timestamps)
    stamped = {}
    for name, first, last in (("early", "1", "5"), ("late", str(early), str(early + 5))):
        export(tmp_path / name, sealed.evidence, first=first, last=last)
        files = unpacked(tmp_path / name)
        stamped[name] = {
            int(one.split("/")[1].split(".")[0]) for one in files if one.endswith(".txt") and "/" in one
        }
    assert early in stamped["early"]
    assert late in stamped["late"]


# ---- What is asked for ----


def test_a_time_chooses_the_entries_sealed_between(sealed: Case, entries: list[Entry], tmp_path: Path) -> None:
    signed = sorted(size for _, size, _ in sealed.evidence.checkpoints.all())
    first, last = signed[10], signed[14]  # both are where a checkpoint was signed, so nothing is rounded
    times = entries[first].header.sealed_at, entries[last - 1].header.sealed_at
    done = export(tmp_path / "bundle.zip", sealed.evidence, first=times[0], last=times[1])
    assert (done.selection.start, done.selection.stop) == (first, last)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"site": "703"}, "the log knows no site site/703"),
        ({"participant": "703-001"}, "the log knows no participant 703-001"),
        ({"site": "701", "participant": PERSON}, "leave --site or --participant out"),
        ({"first": "200", "last": "100"}, "there is nothing between --from 200 and --to 100"),
        ({"first": "yesterday"}, "--from takes an entry index or a time"),
        ({"last": "100000"}, "--to 100000: the newest checkpoint"),
        (
            {"first": "2030-01-01T00:00:00Z"},
            "there is nothing between --from 2030-01-01T00:00:00Z and --to the end",
        ),
    ],
)
def test_what_cannot_be_chosen_is_said_and_leaves_no_file(
    sealed: Case, tmp_path: Path, asked: dict[str, str], told: str
) -> None:
    with pytest.raises(TrailError, match=told):
        export(tmp_path / "bundle.zip", sealed.evidence, **asked)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_never_replaces_a_file(sealed: Case, tmp_path: Path) -> None:
    (tmp_path / "bundle.zip").write_text("something of somebody")
    with pytest.raises(TrailError, match="already a file"):
        sealed.bundle(tmp_path / "bundle.zip", "all")
    assert (tmp_path / "bundle.zip").read_text() == "something of somebody"


def test_a_bundle_is_proven_in_the_newest_checkpoint_that_the_witnesses_have_cosigned(
    sealed: Case, tmp_path: Path
) -> None:
    sizes = [size for _, size, _ in sealed.evidence.checkpoints.all()]

    def only_until(limit: int) -> Callable[[int, str], str]:
        return lambda size, note: note + (witness_lines(split_note(note)[0]) if size <= limit else "")

    done = export(tmp_path / "bundle.zip", replace(sealed.evidence, note_of=only_until(sizes[-3])))
    assert done.size == sizes[-3]
    assert judged(unpacked(tmp_path / "bundle.zip"), tmp_path) == ""
    with pytest.raises(TrailError, match="no checkpoint of this log is cosigned as the policy asks"):
        export(tmp_path / "none.zip", replace(sealed.evidence, note_of=only_until(0)))


@pytest.mark.parametrize("kind", ["all", "range", "participant"])
def test_a_log_that_is_not_what_was_signed_is_not_exported(
    sealed: Case, entries: list[Entry], tmp_path: Path, kind: str
) -> None:
    one = next(entry for entry in entries[45:] if entry.admitted and named(entry)[1] == PERSON)
    home = copy_of(sealed.office.directory, tmp_path / "copy")
    raw = one.raw.replace(b'"value":', b'"value":1')
    change(home, ("UPDATE entries SET entry = ? WHERE idx = ?", (raw, one.index)))
    changed = replace(
        sealed.evidence,
        log=Log.at(home / "audit" / "log.sqlite", read_only=True),
        checkpoints=Checkpoints.at(home / "checkpoints" / "checkpoints.sqlite", read_only=True),
    )
    with pytest.raises(EvidenceError):
        export(tmp_path / "bundle.zip", changed, **KINDS[kind])
    assert not (tmp_path / "bundle.zip").exists()


def test_a_log_is_exported_without_holding_its_entries(tmp_path: Path) -> None:
    found(tmp_path)
    peaks = []
    for size in (2000, 4000):  # the log reads a thousand at once
        grow(tmp_path, size, entry_bytes=2300)
        log = Log.at(tmp_path / "audit" / "log.sqlite", read_only=True)
        checkpoints = Checkpoints.at(tmp_path / "checkpoints" / "checkpoints.sqlite", read_only=True)
        tracemalloc.start()
        export(tmp_path / f"{size}.zip", Evidence(TRIAL, log, checkpoints, Policy((LOG_KEY,), {}, {})))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 2_000_000  # where 5 MB of entries were added


# ---- For people ----


class Tags(HTMLParser):
    """Which elements a page has, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.part11("11.10(b)")
def test_the_record_tells_every_entry_in_words(sealed: Case, entries: list[Entry], tmp_path: Path) -> None:
    files = unpacked(sealed.bundle(tmp_path / "bundle.zip", "all"))
    page = Tags(files["RECORD.html"].decode())
    assert page.tags.count("tr") == 1 + len(entries)
    for words in (
        "weight 80 kg",
        "key granted to",
        "equivocation",
        "site/701 skipped its numbers",
        "holder of site/702",
    ):
        assert words in page.text
    for entry in entries:
        assert entry.leaf.hex() in page.text


def test_nothing_that_somebody_sent_becomes_markup(tmp_path: Path) -> None:
    office = Office.founded(tmp_path / "log")
    hostile = "<script>alert(1)</script><img src=x onerror='alert(2)'>"
    office.register()
    withdrawn = office.post("screening.withdrawn", {"on": "2026-03-03", "why": hostile}, subject=PERSON)
    assert withdrawn.admitted
    assert not office.send(hostile.encode()).admitted
    assert not office.send(b"\xff\xfe" + hostile.encode() + "\u202etxt.exe\x1b[2J".encode()).admitted
    evidence = Evidence(TRIAL, office.notary.log, office.notary.checkpoints, Policy((LOG_KEY,), {}, {}))
    export(tmp_path / "bundle.zip", evidence)
    page = Tags(unpacked(tmp_path / "bundle.zip")["RECORD.html"].decode())
    assert not {"script", "img", "a", "iframe", "object", "form", "link"} & set(page.tags)
    assert page.text.count(hostile) == 3
    assert not {"\u202e", "\x1b"} & set(page.text)


def test_the_readme_says_how_to_check_it_and_with_which_key(sealed: Case, tmp_path: Path) -> None:
    files = unpacked(sealed.bundle(tmp_path / "bundle.zip", "site"))
    text = files["README.txt"].decode()
    manifest = manifest_of(files)
    for words in (*manifest["proves"], *manifest["does_not_prove"], NEXT_KEY.vkey(), "python3 verify.py"):
        assert words in text
    assert max(len(line) for line in text.split("\n")) < 200
