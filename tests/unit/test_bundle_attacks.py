"""Nothing in a bundle can be changed, left out, swapped or made up without verify.py saying so, in a sentence."""

import base64
import hashlib
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from services.console.bundle import verify
from services.console.bundle.export import export
from services.console.bundle.source import Evidence
from shared.checkpoint import Checkpoint, read_checkpoint
from shared.note import COSIGNATURE, NoteKey, sign_note, split_note
from shared.policy import Policy
from shared.signing import SigningKey
from tests.evidence import (
    KINDS,
    NEXT,
    NEXT_KEY,
    WITNESSES,
    Case,
    Unpacked,
    case,
    covered,
    judged,
    manifest_of,
    packed,
    policy,
    unpacked,
    witness_lines,
)
from tests.notary import LOG, LOG_KEY, ORIGIN, SITE, STRANGER, TRIAL, Office

STRANGER_KEY = NoteKey(ORIGIN, STRANGER.public)
FOR_READING = {"README.txt", "RECORD.html", "verify.py", "verify.html"}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(tmp_path_factory.mktemp("sealed"))


@pytest.fixture(scope="module")
def bundles(sealed: Case, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Unpacked]:
    directory = tmp_path_factory.mktemp("bundles")
    return {kind: unpacked(sealed.bundle(directory / f"{kind}.zip", kind)) for kind in KINDS}


def flipped(data: bytes, at: int, by: int = 1) -> bytes:
    return data[:at] + bytes([data[at] ^ by]) + data[at + 1 :]


def some(names: list[str], count: int, seed: str) -> list[str]:
    """A sample, the same every time."""
    return random.Random(seed).sample(sorted(names), min(count, len(names)))


# ---- One thing changed ----


@pytest.mark.parametrize("kind", KINDS)
def test_each_changed_file_is_named(bundles: dict[str, Unpacked], tmp_path: Path, kind: str) -> None:
    files = bundles[kind]
    names = some([name for name in files if name.startswith(("entries/", "proofs/"))], 10, kind)
    names += [name for name in files if not name.startswith(("entries/", "proofs/", "manifest"))]
    for name in names:
        changed = files | {name: flipped(files[name], len(files[name]) // 2)}
        assert judged(changed, tmp_path) == f"{name} is not as manifest.json names it"


@pytest.mark.parametrize("kind", KINDS)
def test_each_missing_file_is_named(bundles: dict[str, Unpacked], tmp_path: Path, kind: str) -> None:
    files = bundles[kind]
    names = some([name for name in files if name.startswith(("entries/", "proofs/"))], 10, kind)
    names += [name for name in files if not name.startswith(("entries/", "proofs/"))]
    for name in names:
        without = {other: data for other, data in files.items() if other != name}
        assert judged(without, tmp_path) == f"{name} is missing"


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_byte_is_taken_even_when_the_manifest_goes_along(
    bundles: dict[str, Unpacked], tmp_path: Path, kind: str
) -> None:
    """Of what is signed or made from it; nobody signs what is for reading, and X.509 is openssl's business."""
    files, draw = bundles[kind], random.Random(kind)
    names = [name for name in files if name not in FOR_READING and not name.endswith((".pem", ".tsr"))]
    always = ["checkpoint", "policy", "manifest.json", "manifest.json", "identities.json"]
    for name in some(names, 12, kind) + always:
        # A cosignature whose name is changed is one by somebody unknown, and such lines are passed over.
        end = files[name].index(b"\n\xe2\x80\x94 w1") if name.startswith("checkpoints/") else len(files[name])
        for _ in range(4):
            changed = files | {name: flipped(files[name], draw.randrange(end), 1 << draw.randrange(8))}
            sentence = judged(changed if name == "manifest.json" else covered(changed), tmp_path)
            assert sentence, (name, changed[name])


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_more_is_not_taken(bundles: dict[str, Unpacked], tmp_path: Path, kind: str) -> None:
    files = bundles[kind]
    assert (
        judged(files | {"more.txt": b"more"}, tmp_path)
        == "the zip holds more.txt, which manifest.json does not name"
    )
    for name in ("more.txt", "entries/9999", "tile/5/000", "timestamps/1.tsa-1.tsr", "protocols/9.yaml"):
        assert judged(covered(files | {name: b"more"}), tmp_path) != "", name


# ---- Entries ----


def without_entry(files: Unpacked, index: int) -> Unpacked:
    entry = files[f"entries/{index}"]
    kept = {
        name: data for name, data in files.items() if name not in {f"entries/{index}", f"proofs/{index}.tlog-proof"}
    }
    verdict = "admitted" if b'"verdict":"admitted"' in entry else "refused"

    def count(manifest: dict[str, dict[str, int]]) -> None:
        manifest["counts"]["entries"] -= 1
        manifest["counts"][verdict] -= 1

    return covered(kept, count)


@pytest.mark.part11("11.10(b)")
def test_an_entry_left_out_of_a_range_is_named(bundles: dict[str, Unpacked], tmp_path: Path) -> None:
    files = bundles["range"]
    start, stop = manifest_of(files)["from"], manifest_of(files)["to"]
    for index in (start, 50, stop - 1):
        assert judged(without_entry(files, index), tmp_path) == f"entry {index} is missing"


@pytest.mark.parametrize("kind", ["site", "site_from"])
def test_no_event_of_a_site_can_be_left_out_but_the_last_and_late_ones(
    bundles: dict[str, Unpacked], tmp_path: Path, kind: str
) -> None:
    files = bundles[kind]
    own: dict[int, int] = {}  # number -> entry, of the admitted ones
    for name, data in files.items():
        head, _, body = data.partition(b"\n")
        if name.startswith("entries/") and b'"source":"site/701"' in body and b'"verdict":"admitted"' in head:
            event = json.loads(body)
            if event["source"] == "site/701":
                own[int(event["sequence"])] = int(name.split("/")[1])
    last = max(own)
    sequence = sorted(own)
    for number in [*sequence[:2], *sequence[30:40], *sequence[-3:]]:
        sentence = judged(without_entry(files, own[number]), tmp_path)
        if number in {last, 43}:  # the last one; and one that a gap names, as it came late
            assert sentence == ""
        elif number + 1 in own or number + 2 in own:
            assert f"{number} is neither here nor in a gap" in sentence


def test_a_gap_that_the_log_sealed_cannot_be_left_out(bundles: dict[str, Unpacked], tmp_path: Path) -> None:
    files = bundles["site"]
    gaps = [
        int(name.split("/")[1]) for name in files if name.startswith("entries/") and b"gap_detected" in files[name]
    ]
    assert len(gaps) == 2
    for index in gaps:
        assert "is neither here nor in a gap" in judged(without_entry(files, index), tmp_path)


def test_the_beginning_cannot_be_left_out(bundles: dict[str, Unpacked], tmp_path: Path) -> None:
    for kind in ("range", "site", "participant"):
        assert (
            judged(without_entry(bundles[kind], 0), tmp_path) == "entry 0, which names the log's keys, is not here"
        )


def test_a_part_without_any_entry_is_none(bundles: dict[str, Unpacked], tmp_path: Path) -> None:
    empty = {name: data for name, data in bundles["site"].items() if not name.startswith(("entries/", "proofs/"))}
    assert judged(covered(empty), tmp_path) == "entry 0, which names the log's keys, is not here"


def test_the_zip_holds_each_file_once(bundles: dict[str, Unpacked], tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    path.write_bytes(packed(bundles["range"]))
    with zipfile.ZipFile(path, "a") as zip_, pytest.warns(UserWarning, match="Duplicate name"):
        zip_.writestr("README.txt", bundles["range"]["README.txt"])
    with pytest.raises(verify.Broken, match="the zip holds two files of one name"):
        verify.Files(path)


@pytest.mark.parametrize("digits", ["9" * 5000, "007", "1e3"])
def test_a_name_with_a_number_of_its_own_kind_does_not_belong(
    bundles: dict[str, Unpacked], tmp_path: Path, digits: str
) -> None:
    files = bundles["range"]
    odd = covered(files | {f"entries/{digits}": files["entries/45"], f"proofs/{digits}.tlog-proof": b""})
    assert judged(odd, tmp_path) != ""


def test_a_grant_left_out_is_missed(bundles: dict[str, Unpacked], tmp_path: Path) -> None:
    files = bundles["participant"]
    granting = next(
        int(name.split("/")[1])
        for name, data in files.items()
        if name.startswith("entries/") and b"identity.granted" in data and base64.b64encode(SITE.public) in data
    )
    assert "no entry here grants its key" in judged(without_entry(files, granting), tmp_path)


def test_a_proof_of_another_entry_proves_nothing(bundles: dict[str, Unpacked], tmp_path: Path) -> None:
    files = bundles["range"]
    one, other = "proofs/41.tlog-proof", "proofs/42.tlog-proof"
    swapped = covered(files | {one: files[other], other: files[one]})
    assert judged(swapped, tmp_path) == f"{one} is not about entry 41 as it is here, and the checkpoint"
    # Also when its first lines are made to fit.
    start = b"\n".join(files[one].split(b"\n")[:3])
    fitted = start + b"\n" + b"\n".join(files[other].split(b"\n")[3:])
    sentence = judged(covered(files | {one: fitted}), tmp_path)
    assert sentence == f"{one} does not prove that entry 41 is in the log: one of the two was changed"


def test_entries_do_not_change_places(bundles: dict[str, Unpacked], tmp_path: Path) -> None:
    files = bundles["range"]
    swapped = files | {"entries/41": files["entries/42"], "entries/42": files["entries/41"]}
    swapped |= {
        "proofs/41.tlog-proof": files["proofs/42.tlog-proof"],
        "proofs/42.tlog-proof": files["proofs/41.tlog-proof"],
    }
    assert judged(covered(swapped), tmp_path) != ""


def bundle_of(entries: list[bytes]) -> bytes:
    return b"".join(len(raw).to_bytes(2, "big") + raw for raw in entries)


def opened(bundle: bytes) -> list[bytes]:
    entries, at = [], 0
    while at < len(bundle):
        end = at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        entries.append(bundle[at + 2 : end])
        at = end
    return entries


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda raw: raw[:50] + raw[51:], "what stands here as entry 50 says that it is entry 51"),
        (lambda raw: raw[:-1], "tile/entries/000 ends before entry 255 does"),
        (lambda raw: raw[:50] + raw[49:], "what stands here as entry 50 says that it is entry 49"),
        (
            lambda raw: [*raw[:50], raw[51], raw[50], *raw[52:]],
            "what stands here as entry 50 says that it is entry 51",
        ),
        (lambda raw: [*raw, raw[-1]], "tile/entries/000 holds more entries than it should"),
        (
            lambda raw: [*raw[:50], raw[50].replace(b'"value":', b'"value":1'), *raw[51:]],
            "entry 50 is admitted, but its signature is not that of key",
        ),
        (
            lambda raw: [*raw[:50], raw[50].replace(b'"intake":', b'"intake":1'), *raw[51:]],
            "entry 51 is not linked to entry 50 as it is here: one of the two was changed",
        ),
        (
            lambda raw: [*raw[:50], raw[50].replace(b'{"index"', b'{ "index"'), *raw[51:]],
            "the header of entry 50 is not in its one canonical form",
        ),
    ],
    ids=[
        "removed",
        "cut off",
        "repeated",
        "swapped",
        "added",
        "event changed",
        "header changed",
        "header respaced",
    ],
)
@pytest.mark.part11("11.10(b)")
def test_the_whole_log_gives_away_what_was_done_to_it(
    bundles: dict[str, Unpacked],
    tmp_path: Path,
    change: Callable[[list[bytes]], list[bytes]],
    told: str,
) -> None:
    files = bundles["all"]
    raw = opened(files["tile/entries/000"])
    changed = covered(files | {"tile/entries/000": bundle_of(change(raw))})
    assert told in judged(changed, tmp_path)


def test_hashes_that_are_not_the_entries_are_named(bundles: dict[str, Unpacked], tmp_path: Path) -> None:
    files = bundles["all"]
    for name in ("tile/0/000", "tile/0/001.p/39", "tile/1/000.p/1"):
        changed = covered(files | {name: flipped(files[name], 5)})
        assert judged(changed, tmp_path) == f"{name} does not hold the hashes of the entries"


# ---- Checkpoints and keys ----


def resigned(note: bytes, key: SigningKey = NEXT, **changes: object) -> bytes:
    """A checkpoint signed again, with other contents or another key, and cosigned."""
    read = read_checkpoint(split_note(note.decode())[0])
    fields = {"origin": read.origin, "size": read.size, "root": read.root} | changes
    text = Checkpoint(**fields).text()  # type: ignore[arg-type]
    return (sign_note(text, ORIGIN, key) + witness_lines(text)).encode()


def test_a_forged_checkpoint_is_no_use(bundles: dict[str, Unpacked], tmp_path: Path) -> None:
    files = bundles["all"]
    by_nobody = covered(files | {"checkpoint": resigned(files["checkpoint"], STRANGER)})
    assert judged(by_nobody, tmp_path) == "the checkpoint is not signed with a log key of the policy"
    # With the policy changed to fit, the log's own entries say whose key signs.
    theirs = files["policy"].replace(NEXT_KEY.vkey().encode(), STRANGER_KEY.vkey().encode())
    with_policy = covered(files | {"checkpoint": resigned(files["checkpoint"], STRANGER), "policy": theirs})
    assert "signed with a key that was not the log's then" in judged(with_policy, tmp_path)
    # Even with the log's key (it was stolen), another root is not that of these entries.
    other_root = covered(files | {"checkpoint": resigned(files["checkpoint"], root=bytes(32))})
    assert judged(other_root, tmp_path) == "the entries do not hash to the root in the checkpoint"
    # And once the key has been rotated, the old one does not sign larger trees.
    by_old_key = covered(files | {"checkpoint": resigned(files["checkpoint"], LOG)})
    assert "signed with a key that was not the log's then" in judged(by_old_key, tmp_path)


def test_a_checkpoint_has_to_be_that_of_its_size(bundles: dict[str, Unpacked], tmp_path: Path) -> None:
    files = bundles["all"]
    size = manifest_of(files)["size"]
    for claimed in (size - 1, size + 1):
        changed = covered(
            files | {"checkpoint": resigned(files["checkpoint"], size=claimed)},
            lambda manifest: manifest.update(size=claimed, to=claimed),  # noqa: B023
        )
        assert judged(changed, tmp_path) != ""


@pytest.mark.parametrize("kind", ["all", "range"])
def test_an_earlier_checkpoint_has_to_be_one_of_this_log(
    bundles: dict[str, Unpacked], tmp_path: Path, kind: str
) -> None:
    files = bundles[kind]
    for name in [name for name in files if name.startswith("checkpoints/")]:
        signer = LOG if int(name.split("/")[1]) < 173 else NEXT
        changed = covered(files | {name: resigned(files[name], signer, root=bytes(32))})
        assert judged(changed, tmp_path) != ""
    for name in [name for name in files if name.startswith("consistency/")]:
        changed = covered(files | {name: b"".join(reversed(files[name].splitlines(keepends=True)))})
        sentence = judged(changed, tmp_path)
        assert sentence.startswith(f"{name} does not prove that the log of") or changed[name] == files[name]
        without = covered({other: data for other, data in files.items() if other != name})
        told = judged(without, tmp_path)
        assert "is not shown to be one of this log" in told or "is about a checkpoint that is not here" in told


def test_cosignatures_are_counted_and_checked(bundles: dict[str, Unpacked], tmp_path: Path) -> None:
    files = bundles["all"]
    lines = files["checkpoint"].decode().splitlines(keepends=True)
    alone = covered(files | {"checkpoint": "".join(lines[:-1]).encode()})
    assert judged(alone, tmp_path) == "the checkpoint is cosigned by w1; the quorum is both"
    none = covered(files | {"checkpoint": "".join(lines[:-2]).encode()})
    assert judged(none, tmp_path) == "the checkpoint is cosigned by nobody; the quorum is both"
    other_text = witness_lines("another checkpoint\n1\nAAAA\n").splitlines(keepends=True)[1]
    broken = covered(files | {"checkpoint": "".join([*lines[:-1], other_text]).encode()})
    assert judged(broken, tmp_path) == "the cosignature of the witness w2.example on the checkpoint is broken"
    # A policy that asks for less is the bundle's word; the inspector's own is not.
    easy = covered(
        files
        | {"policy": files["policy"].replace(b"quorum both", b"quorum none"), "checkpoint": none["checkpoint"]},
        lambda manifest: manifest.update(
            zip(
                ("proves", "does_not_prove"),
                verify.statements("all", None, 0, manifest["to"], manifest["to"], "none"),
                strict=True,
            )
        ),
    )
    assert judged(easy, tmp_path) == ""
    own = verify.Policy(files["policy"].decode())
    assert judged(easy, tmp_path, own) == "the checkpoint is cosigned by nobody; the quorum is both"


def own_policy(*logs: NoteKey) -> verify.Policy:
    lines = [*(f"log {key.vkey()}" for key in logs), *policy().text().splitlines()[1:]]
    return verify.Policy("\n".join(lines))


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_knows_the_first_or_the_present_log_key_needs_no_other(
    bundles: dict[str, Unpacked], tmp_path: Path, kind: str
) -> None:
    files = bundles[kind]
    for key in (LOG_KEY, NEXT_KEY):
        assert judged(files, tmp_path, own_policy(key)) == ""
    sentence = judged(files, tmp_path, own_policy(STRANGER_KEY))
    assert sentence == f"the log's key here is {NEXT_KEY.vkey()}, not the one that you gave"


def test_a_log_that_was_made_up_does_not_pass_for_the_one_whose_key_you_know(tmp_path: Path) -> None:
    """Everything in it is sound in itself; only the key from outside tells."""
    office = Office.founded(tmp_path / "log")
    evidence = Evidence(TRIAL, office.notary.log, office.notary.checkpoints, Policy((LOG_KEY,), {}, {}))
    export(tmp_path / "bundle.zip", evidence)
    files = unpacked(tmp_path / "bundle.zip")
    assert judged(files, tmp_path) == ""
    unwitnessed = verify.Policy(f"log {STRANGER_KEY.vkey()}\nquorum none")
    assert "not the one that you gave" in judged(files, tmp_path, unwitnessed)


# ---- What is told about the entries ----


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("participant", {"selection": "all", "of": None}, "manifest.json does not say what such a bundle proves"),
        ("range", {"to": 294}, "manifest.json does not say what such a bundle proves"),
        ("range", {"trial": "NCT00000000"}, "belongs to another trial"),
        ("site", {"of": "site/702"}, "manifest.json does not say what such a bundle proves"),
        ("all", {"counts": {"entries": 294, "admitted": 294, "refused": 0}}, "manifest.json counts"),
        ("all", {"proves": ["That everybody was treated well."]}, "manifest.json does not say what"),
        ("all", {"does_not_prove": []}, "manifest.json does not say what"),
        ("all", {"origin": "example.org/other"}, "manifest.json speaks of another checkpoint"),
        ("all", {"format": "trialtrail-bundle/2"}, "a newer bundle has a newer verify.py in it"),
        ("all", {"size": "294"}, "manifest.json has not the fields it should have"),
        ("all", {"more": 1}, "manifest.json has not the fields it should have"),
        ("site", {"of": ["site/701"]}, "manifest.json does not say what"),
    ],
)
def test_a_manifest_cannot_say_more_than_is_there(
    bundles: dict[str, Unpacked], tmp_path: Path, kind: str, change: dict[str, object], told: str
) -> None:
    assert told in judged(covered(bundles[kind], lambda manifest: manifest.update(change)), tmp_path)


@pytest.mark.parametrize(("first", "last"), [("from", 13), ("to", 200)])
def test_a_range_cannot_be_told_to_be_larger(
    bundles: dict[str, Unpacked], tmp_path: Path, first: str, last: int
) -> None:
    files = bundles["range"]

    def stretch(manifest: dict[str, object]) -> None:
        manifest[first] = last
        span = (manifest["from"], manifest["to"], manifest["size"], "both")
        manifest["proves"], manifest["does_not_prove"] = verify.statements("range", None, *span)  # type: ignore[arg-type]

    assert "its beginning and end, are not here" in judged(covered(files, stretch), tmp_path)


def test_identities_and_protocols_have_to_be_those_of_the_entries(
    bundles: dict[str, Unpacked], tmp_path: Path
) -> None:
    files = bundles["site"]
    lying = json.loads(files["identities.json"])
    lying[0]["holder"] = "somebody else"
    changed = covered(files | {"identities.json": json.dumps(lying).encode()})
    assert judged(changed, tmp_path) == "identities.json is not what the entries here say about keys"
    milder = covered(files | {"protocols/1.0.yaml": files["protocols/1.0.yaml"].replace(b"18", b"17")})
    assert judged(milder, tmp_path) == "protocols/1.0.yaml is not a protocol that an entry here adopted"
    without = covered({name: data for name, data in files.items() if name != "protocols/1.0.yaml"})
    assert "adopted is not in protocols/" in judged(without, tmp_path)


def test_a_timestamp_has_to_be_over_a_checkpoint_that_is_here(
    sealed: Case, bundles: dict[str, Unpacked], tmp_path: Path
) -> None:
    if sealed.certifier is None:
        pytest.skip("the openssl command is not installed")
    files = bundles["all"]
    texts = [name for name in files if name.startswith("timestamps/") and name.endswith(".txt")]
    tokens = [name for name in files if name.endswith(".tsr")]
    swapped = covered(files | {tokens[0]: files[tokens[1]]})
    assert judged(swapped, tmp_path) == f"{tokens[0]} is not a timestamp over {texts[0]}"
    both = covered(files | {tokens[0]: files[tokens[1]], texts[0]: files[texts[1]]})
    assert "is not the text of a checkpoint over" in judged(both, tmp_path)
    token = files[tokens[0]]
    imprint = token.index(hashlib.sha256(files[texts[0]]).digest())
    for at in (imprint, imprint + 31):
        assert judged(covered(files | {tokens[0]: flipped(token, at)}), tmp_path) != ""
    year = token.index(b"\x18\x0f20", imprint) + 4
    spoilt = token[:year] + b"99999999" + token[year + 8 :]
    assert (
        judged(covered(files | {tokens[0]: spoilt}), tmp_path) == f"{tokens[0]} is not a timestamp over {texts[0]}"
    )


# ---- Not even a bundle ----


@pytest.mark.parametrize(
    "name", ["../outside", "/outside", "entries/../../outside", "entries//1", ".hidden", "a\nb", ""]
)
def test_a_manifest_cannot_make_verify_py_look_elsewhere(
    bundles: dict[str, Unpacked], tmp_path: Path, name: str
) -> None:
    directory = tmp_path / "bundle"
    for one, data in covered(bundles["range"] | {name: b"outside"}).items():
        if one != name:
            (directory / one).parent.mkdir(parents=True, exist_ok=True)
            (directory / one).write_bytes(data)
    (tmp_path / "outside").write_bytes(b"outside")
    with pytest.raises(verify.Broken, match="names a file in a way that no bundle does"):
        verify.Files(directory)


@pytest.mark.parametrize(
    "name", ["manifest.json", "policy", "checkpoint", "identities.json", "tile/entries/000", "tile/0/000"]
)
@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"quorum quorum", b"\n\n"]
)
def test_every_malformed_file_gets_a_sentence(
    bundles: dict[str, Unpacked], tmp_path: Path, name: str, content: bytes
) -> None:
    changed = bundles["all"] | {name: content}
    assert judged(changed if name == "manifest.json" else covered(changed), tmp_path) != ""


@pytest.mark.parametrize("name", ["entries/45", "proofs/45.tlog-proof", "consistency/12-72", "checkpoints/72"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"\n\n", b'{"verdict":1}\n', b"[" * 100_000 + b"\n"])
def test_every_malformed_part_gets_a_sentence(
    bundles: dict[str, Unpacked], tmp_path: Path, name: str, content: bytes
) -> None:
    files = bundles["range"]
    assert name in files
    assert judged(covered(files | {name: content}), tmp_path) != ""


def test_a_damaged_zip_gets_a_sentence(bundles: dict[str, Unpacked], sealed: Case, tmp_path: Path) -> None:
    bundle = sealed.bundle(tmp_path / "good.zip", "range").read_bytes()
    draw = random.Random(3)
    damaged = [bundle[: len(bundle) // 2], bundle[:-10], b"", b"PK", b"not a zip at all" * 100]
    damaged += [flipped(bundle, draw.randrange(len(bundle)), 1 << draw.randrange(8)) for _ in range(60)]
    for data in damaged:
        (tmp_path / "damaged.zip").write_bytes(data)
        try:
            verify.Check(verify.Files(tmp_path / "damaged.zip"), None)()
        except verify.Broken:
            continue
        # What a zip says twice (a name, a length, a time) may differ in the copy that nobody reads.
        assert unpacked(tmp_path / "damaged.zip") == bundles["range"]


def test_witness_keys_of_the_policy_are_kinds_of_their_own() -> None:
    public = WITNESSES["w1"].public
    with pytest.raises(verify.Broken, match="is not a witness's key"):
        verify.Policy(f"witness w1 {NoteKey('w1.example', public).vkey()}\nquorum w1")
    with pytest.raises(verify.Broken, match="is not a log's key"):
        verify.Policy(f"log {NoteKey('w1.example', public, COSIGNATURE).vkey()}\nquorum none")
