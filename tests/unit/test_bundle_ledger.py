"""A notary that lies can sign what it likes; what it says about keys, links and numbers has to fit all the same."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.console.bundle import verify
from shared.entry import ADMITTED, NO_LEAF, REFUSED, Entry, Header, seal
from shared.envelope import write_envelope
from shared.signing import SigningKey, key_id
from shared.words import LeafHash, LogIndex
from tests.notary import (
    ADMINISTRATOR,
    LOG,
    OBSERVED,
    ORIGIN,
    OTHER_SITE,
    PERSON,
    ROOT,
    SITE,
    STRANGER,
    TRIAL,
    grant,
    opened,
    seeded_key,
    text_key,
)

NEXT = seeded_key("next log key")
SOURCES = {ROOT.id: "admin/root", SITE.id: "site/701", OTHER_SITE.id: "site/702", LOG.id: "service/audit"}
Change = dict[str, Any]


class Liar:
    """Seals what it is told to, in real entries; ``judge`` is what verify.py makes of them."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.numbers: dict[str, int] = {}
        self.seal("log.opened", opened(), key=ROOT)
        for key, role in ((SITE, "site_system"), (OTHER_SITE, "site_system")):
            self.seal("identity.granted", grant(key, SOURCES[key.id], role), key=ROOT)

    def seal(
        self,
        kind: str,
        data: Any,
        *,
        key: SigningKey = SITE,
        signer: SigningKey | None = None,
        header: Change | None = None,
        body: Change | None = None,
        payload: bytes | None = None,
    ) -> Entry:
        """Seal one event; ``signer`` signs it if not ``key``, the rest replaces what would stand there."""
        source = SOURCES.get(key.id, "site/701")
        index = len(self.entries)
        fields: Change = {
            "event_id": f"00000000-0000-7000-8000-{index:012x}",
            "source": source,
            "type_": f"trialtrail.{kind}.v1",
            "subject": PERSON if kind.startswith("screening") else None,
            "time": "2026-03-04T09:00:00Z",
            "sequence": self.numbers.get(source, 0) + 1,
            "trial": TRIAL,
        } | (body or {})
        self.numbers[fields["source"]] = max(self.numbers.get(fields["source"], 0), fields["sequence"])
        event = payload if payload is not None else write_envelope(**fields, data=data)
        head: Change = {
            "index": LogIndex(index),
            "intake": index,
            "key": key.id,
            "prev": self.entries[-1].leaf if self.entries else NO_LEAF,
            "reason": "",
            "sealed_at": f"2026-03-04T09:00:00.{index:06}Z",
            "signature": (signer or key).sign_event(event),
            "subject": f"intake.{TRIAL}.x.x.{kind}",
            "verdict": ADMITTED,
        } | (header or {})
        entry = seal(Header(**head), event)
        self.entries.append(entry)
        return entry

    def observe(self, sequence: int, *, verdict: str = ADMITTED, key: SigningKey = SITE, **more: Any) -> Entry:
        """One numbered event of the site."""
        header = {"verdict": verdict, "reason": "" if verdict == ADMITTED else "because"} | more.pop("header", {})
        return self.seal(
            "screening.observed", OBSERVED, key=key, header=header, body={"sequence": sequence}, **more
        )

    def gap(self, first: int, last: int, source: str = "site/701", key: SigningKey = LOG) -> Entry:
        """A gap's statement."""
        data = {"source": source, "first_missing": first, "last_missing": last, "noticed_at": len(self.entries) - 1}
        return self.seal("log.gap_detected", data, key=key)

    def judge(self, keep: Callable[[Entry], bool] = lambda _entry: True) -> verify.Ledger:
        """The ledger after all entries that are kept. Raises verify.Broken."""
        ledger = verify.Ledger(TRIAL, ORIGIN)
        keys = [ROOT, LOG, SITE, OTHER_SITE, STRANGER, NEXT, ADMINISTRATOR]
        publics = {key.id: key.public for key in keys}
        for entry in filter(keep, self.entries):
            read = verify.read_entry(entry.raw, entry.index)
            head = read.header
            ledger.take(read, signed=verify.is_signed((publics.get(head["key"]), head["sig"], read.body)))
        return ledger

    def told(self, keep: Callable[[Entry], bool] = lambda _entry: True) -> str:
        """What is wrong, or what is said about the site's numbers."""
        try:
            return self.judge(keep).follow("site/701", 0)
        except verify.Broken as error:
            return f"broken: {error}"


@pytest.fixture
def liar() -> Liar:
    return Liar()


def test_an_honest_log_is_taken(liar: Liar) -> None:
    for number in (1, 2, 3):
        liar.observe(number)
    assert liar.told() == "site/701: numbers 1 to 3 are here"


# ---- Who speaks ----


def test_an_event_under_a_strangers_signature_is_not_admitted(liar: Liar) -> None:
    liar.observe(1, signer=STRANGER)
    assert "entry 3 is admitted, but its signature is not that of key" in liar.told()


def test_a_signature_over_other_bytes_does_not_count(liar: Liar) -> None:
    liar.observe(1, header={"signature": SITE.sign_event(b"another event")})
    assert "its signature is not that of key" in liar.told()


def test_a_signature_over_the_bare_event_does_not_count(liar: Liar) -> None:
    bare = base64.b64encode(SITE.sign(liar.observe(1).body)).decode()
    liar.entries.pop()
    liar.observe(1, header={"signature": bare})
    assert "its signature is not that of key" in liar.told()


def test_a_key_that_nobody_granted_speaks_for_nobody(liar: Liar) -> None:
    liar.observe(1, key=STRANGER)
    assert "entry 3 is admitted, but no entry here grants its key" in liar.told()


def test_a_key_speaks_only_for_its_own_source(liar: Liar) -> None:
    liar.seal("screening.observed", OBSERVED, key=OTHER_SITE, body={"source": "site/701"})
    assert "entry 3 is of site/701, but its key speaks for site/702" in liar.told()


def test_a_revoked_key_speaks_no_more(liar: Liar) -> None:
    liar.observe(1)
    liar.seal("identity.revoked", {"key": SITE.id, "why": "lost"}, key=ROOT)
    liar.observe(2)
    assert "entry 5 is admitted, but its key was revoked by entry 4" in liar.told()


def test_only_root_and_administrators_grant_and_revoke(liar: Liar) -> None:
    liar.seal("identity.granted", grant(STRANGER, "site/701", "site_system"), key=SITE)
    assert "entry 3 is a trialtrail.identity.granted.v1, but site_system signed it" in liar.told()


def test_a_key_is_granted_once(liar: Liar) -> None:
    liar.seal("identity.granted", grant(SITE, "site/702", "site_system"), key=ROOT)
    assert f"entry 3 grants the key {SITE.id} once more" in liar.told()


def test_only_the_log_states_gaps_and_only_the_root_rotates_its_key(liar: Liar) -> None:
    liar.gap(1, 4, key=SITE)
    assert "entry 3 is a trialtrail.log.gap_detected.v1, but site_system signed it" in liar.told()
    other = Liar()
    other.seal("log.key_rotated", {"public_key": text_key(NEXT), "why": "stolen"}, key=LOG)
    assert "entry 3 is a trialtrail.log.key_rotated.v1, but log signed it" in other.told()


def test_after_a_rotation_the_log_speaks_with_its_next_key(liar: Liar) -> None:
    liar.seal("log.key_rotated", {"public_key": text_key(NEXT), "why": "yearly"}, key=ROOT)
    ledger = liar.judge()
    assert [ledger.log_key(size) for size in (1, 3, 4, 9)] == [LOG.public, LOG.public, NEXT.public, NEXT.public]
    liar.seal("log.ticked", {}, key=LOG)
    assert "its key was revoked by entry 3" in liar.told()


def test_an_event_of_another_trial_is_not_admitted(liar: Liar) -> None:
    liar.seal("screening.observed", OBSERVED, body={"trial": "NCT00000001"})
    assert "entry 3 belongs to another trial, NCT00000001" in liar.told()


@pytest.mark.parametrize(
    "payload",
    [b"", b"nothing", b"[]", b'{"source":"site/701"}', b'{"a":1,"a":2}', b"\xff", b'{"a":' * 2000, b'{"a":NaN}'],
)
def test_what_is_no_event_is_not_admitted(liar: Liar, payload: bytes) -> None:
    liar.seal("screening.observed", {}, payload=payload)
    assert "entry 3 is admitted, but is no event" in liar.told()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"sequence":"1"', b'"sequence":"one"'),
        (b'"sequence":"1"', b'"sequence":"0"'),
        (b'"sequence":"1"', b'"sequence":"01"'),
        (b'"sequence":"1"', b'"sequence":1'),
        (b'"sequence":"1"', b'"sequence":"12345678901234567"'),
        (b'"source":"site/701"', b'"source":["site/701"]'),
        (b'"trial":"NCT06027853"', b'"trial":null'),
        (b'"type":"trialtrail', b'"kind":"trialtrail'),
        (b'"data":{', b'"other":{'),
    ],
)
def test_an_event_that_lacks_what_every_event_has_is_none(liar: Liar, old: bytes, new: bytes) -> None:
    honest = liar.observe(1).body
    liar.entries.pop()
    assert old in honest
    liar.seal("screening.observed", {}, payload=honest.replace(old, new))
    assert "entry 3 is admitted, but is no event" in liar.told()


def test_a_name_that_stands_twice_is_no_event(liar: Liar) -> None:
    honest = liar.observe(1).body
    liar.entries.pop()
    for twice in (
        honest.replace(b'{"data"', b'{"sequence":"9","data"'),
        honest.replace(b'"kg"', b'"kg","unit":"lb"'),
    ):
        assert len(twice) > len(honest)
        liar.seal("screening.observed", {}, payload=twice)
        assert "is admitted, but is no event" in liar.told()
        liar.entries.pop()


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("identity.granted", {"public_key": "short"}),
        ("identity.granted", {"public_key": 7}),
        ("identity.revoked", {"key": "f" * 32}),
        ("identity.revoked", {}),
        ("log.key_rotated", {"public_key": None}),
        ("protocol.adopted", {"document": 5}),
    ],
)
def test_statements_that_make_no_sense_get_a_sentence(liar: Liar, kind: str, data: Any) -> None:
    liar.seal(kind, data, key=ROOT)
    assert liar.told().startswith("broken: ")


@pytest.mark.parametrize(
    "data",
    [{}, {"origin": ORIGIN}, opened() | {"root_key": 1}, opened() | {"log_key": "x"}, opened() | {"origin": "x"}],
)
def test_a_genesis_that_is_none_gets_a_sentence(data: Any) -> None:
    liar = Liar()
    liar.entries.clear()
    liar.seal("log.opened", data, key=ROOT)
    assert liar.told().startswith("broken: ")


@pytest.mark.parametrize(
    "more",
    [
        {"header": {"verdict": REFUSED, "reason": "because"}},
        {"body": {"type_": "trialtrail.log.ticked.v1"}},
        {"key": LOG},
        {"key": LOG, "body": {"source": "admin/root"}},
        {"signer": STRANGER},
    ],
    ids=["refused", "of another type", "by the log", "by the log as root", "under a strangers signature"],
)
def test_only_the_root_opens_a_log(more: Change) -> None:
    liar = Liar()
    liar.entries.clear()
    liar.seal("log.opened", opened(), **{"key": ROOT} | more)
    assert liar.told().startswith("broken: ")


@pytest.mark.parametrize(
    "data", [{"source": []}, {"first_missing": "one"}, {"last_missing": None}, {"source": "site/701"}]
)
def test_a_gap_that_makes_no_sense_gets_a_sentence(liar: Liar, data: Change) -> None:
    good = {"source": "site/701", "first_missing": 1, "last_missing": 2, "noticed_at": 3}
    changed = {
        name: value for name, value in (good | data).items() if data != {"source": "site/701"} or name in data
    }
    liar.seal("log.gap_detected", changed, key=LOG)
    assert liar.told().startswith("broken: ")


# ---- Links and times ----


def test_every_entry_is_linked_to_the_one_before(liar: Liar) -> None:
    liar.observe(1)
    liar.observe(2, header={"prev": LeafHash(bytes(32))})
    assert "entry 4 is not linked to entry 3 as it is here" in liar.told()


def test_sealed_time_never_goes_back_also_where_entries_are_left_out(liar: Liar) -> None:
    liar.observe(1)
    liar.observe(2)
    liar.observe(3, header={"sealed_at": "2026-03-04T08:59:59.000000Z"})
    assert "entry 5 says it was sealed earlier" in liar.told()
    assert "entry 5 says it was sealed earlier" in liar.told(lambda entry: entry.index != 4)


def test_a_format_never_goes_back(liar: Liar) -> None:
    liar.observe(1)
    liar.observe(2, header={"format": 1})
    assert "in an older format, than entry 3" in liar.told()


def test_the_first_entry_follows_none() -> None:
    liar = Liar()
    first = liar.entries[0]
    liar.entries[0] = seal(
        first.header.__class__(**_fields(first.header) | {"prev": LeafHash(b"1" * 32)}), first.body
    )
    assert "entry 0 is linked to an entry before it" in liar.told(lambda entry: entry.index == 0)


def _fields(header: Header) -> Change:
    return {name: getattr(header, name) for name in Header.__dataclass_fields__}


# ---- Numbers ----


def test_a_number_left_out_is_named(liar: Liar) -> None:
    entries = [liar.observe(number) for number in (1, 2, 3, 4)]
    hidden = entries[2].index
    told = liar.told(lambda entry: entry.index != hidden)
    assert told == f"broken: site/701 used number 4 in entry {entries[3].index}, but 3 is neither here nor in a gap"
    assert "1 is neither here" in liar.told(lambda entry: entry.index != entries[0].index)


def test_a_gap_that_the_log_stated_is_told(liar: Liar) -> None:
    liar.observe(1)
    liar.observe(5)
    liar.gap(2, 4)
    assert liar.told() == "site/701: numbers 1 to 5 are here, but for 2 to 4: named by gaps"
    liar.observe(3)
    assert liar.told() == "site/701: numbers 1 to 5 are here, but for 2, 4: named by gaps"


def test_a_gap_of_another_source_explains_nothing(liar: Liar) -> None:
    liar.observe(1)
    liar.observe(3)
    liar.gap(2, 2, source="site/702")
    assert "2 is neither here nor in a gap" in liar.told()


def test_a_number_is_admitted_once(liar: Liar) -> None:
    liar.observe(1)
    liar.observe(1)
    assert liar.told() == "broken: site/701 used its number 1 in entry 4 and in entry 3"


def test_a_refused_event_may_have_used_its_number_up_and_is_told(liar: Liar) -> None:
    liar.observe(1)
    refused = liar.observe(2, verdict=REFUSED)
    liar.observe(3)
    assert liar.told() == f"site/701: numbers 1 to 3 are here; 2 was refused, in entry {refused.index}"
    liar.observe(2)  # what was refused had not used it up
    assert liar.told() == "site/701: numbers 1 to 3 are here"


def test_what_a_source_did_not_sign_uses_none_of_its_numbers(liar: Liar) -> None:
    liar.observe(1)
    liar.observe(2, verdict=REFUSED, signer=STRANGER)
    liar.observe(3)
    assert "2 is neither here nor in a gap" in liar.told()


def test_what_another_signed_in_its_name_uses_none_of_its_numbers(liar: Liar) -> None:
    liar.observe(1)
    in_its_name = {"source": "site/701", "sequence": 2}
    liar.seal(
        "screening.observed", {}, key=OTHER_SITE, header={"verdict": REFUSED, "reason": "no"}, body=in_its_name
    )
    liar.seal("screening.observed", {}, key=STRANGER, header={"verdict": REFUSED, "reason": "no"}, body=in_its_name)
    liar.observe(3)
    assert "2 is neither here nor in a gap" in liar.told()


def test_an_entry_before_the_beginning_says_where_the_numbers_stood(liar: Liar) -> None:
    for number in range(1, 7):
        liar.observe(number)
    start = liar.entries[-3].index
    ledger = liar.judge(lambda entry: entry.index < 3 or entry.index >= start - 1)
    assert ledger.follow("site/701", start) == "site/701: numbers 4 to 6 are here"
    without_it = liar.judge(lambda entry: entry.index < 3 or entry.index >= start)
    with pytest.raises(verify.Broken, match="3 is neither here nor in a gap"):
        without_it.follow("site/701", start)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_hole_is_overlooked_and_none_is_seen_where_there_is_none(data: st.DataObject) -> None:
    """A source counts; some numbers are lost, some come late, and the log states gaps as its notary does."""
    liar = Liar()
    high, missing, last = 0, set[int](), {}
    for _ in range(data.draw(st.integers(1, 12))):
        late = sorted(missing) if data.draw(st.booleans()) else []
        number = data.draw(st.sampled_from(late)) if late else high + data.draw(st.integers(1, 3))
        last[number] = liar.observe(number).index
        missing.discard(number)
        if number > high + 1:
            liar.gap(high + 1, number - 1)
            missing |= set(range(high + 1, number))
        high = max(high, number)
    assert not liar.told().startswith("broken")
    stated = {number for entry in liar.entries for number in _stated(entry)}
    hidden = data.draw(st.sampled_from(sorted(last)))
    noticed = liar.told(lambda entry: entry.index != last[hidden]).startswith("broken")
    assert noticed == (hidden < high and hidden not in stated)


def _stated(entry: Entry) -> range:
    data = json.loads(entry.body)["data"]
    return range(data["first_missing"], data["last_missing"] + 1) if "noticed_at" in data else range(0)


# ---- Headers ----

TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=30)


@settings(max_examples=300, deadline=None)
@given(TEXT, TEXT, st.binary(max_size=50), st.integers(0, 10**15), st.integers(0, 2**62))
def test_every_entry_that_the_notary_can_write_is_read_back(
    subject: str, reason: str, body: bytes, index: int, intake: int
) -> None:
    header = Header(
        index=LogIndex(index),
        intake=intake,
        key=key_id(SITE.public),
        prev=NO_LEAF,
        reason=reason,
        sealed_at="2026-02-28T23:59:59.999999Z",
        signature="?",
        subject=subject,
        verdict=REFUSED,
    )
    entry = seal(header, body)
    read = verify.read_entry(entry.raw, index)
    assert (read.header["subject"], read.header["reason"], read.body) == (subject, reason, body)
    assert read.leaf == entry.leaf


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b'"index":3', b'"index":3.0'),
        lambda line: line.replace(b'"index":3', b'"index":true'),
        lambda line: line.replace(b'"index":3', b'"index":-3'),
        lambda line: line.replace(b'"v":4', b'"v":5'),
        lambda line: line.replace(b'"v":4', b'"v":"2"'),
        lambda line: line.replace(b'"v":4', b'"v":4,"w":1'),
        lambda line: line.replace(b'"v":4', b'"v":4,"v":4'),
        lambda line: line.replace(b"admitted", b"permitted"),
        lambda line: line.replace(b'"admitted"', b'"admitted","reason":""'),
        lambda line: line.replace(b"2026-03-04T", b"2026-02-30T"),
        lambda line: line.replace(b"2026-03-04T", b"2026-03-04t"),
        lambda line: line.replace(b"T09:00:00.", b"T24:00:00."),
        lambda line: line.replace(b'"subject"', b' "subject"'),
        lambda line: line.replace(b"screening", b"\\u0073creening"),
        lambda line: line.replace(b'"prev":"', b'"prev":"A'),
        lambda line: line.replace(b"}\n", b"} \n"),
        lambda line: line.replace(b"\n", b""),
        lambda line: b"\xef\xbb\xbf" + line,
        lambda line: b"\n" + line,
    ],
)
def test_only_the_one_canonical_header_is_one(liar: Liar, change: Callable[[bytes], bytes]) -> None:
    raw = liar.observe(1).raw
    line, _, body = raw.partition(b"\n")
    changed = change(line + b"\n") + body
    assert changed != raw
    with pytest.raises(verify.Broken, match="not in its one canonical form"):
        verify.read_entry(changed, 3)
