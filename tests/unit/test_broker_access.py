"""Whom the broker lets in, as the log's identities say: never more than each may do, never one who is nobody."""

import base64
import binascii
import itertools
import subprocess
import sysconfig
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.broker import API, Topology
from shared.broker_access import INBOX, RECORD, Access, User, access, write_access
from shared.broker_keys import is_user_key, make_seed, public_of, read_seed
from shared.events.authority import authority
from shared.events.base import Role
from shared.events.identity import KINDS_OF_ROLE
from shared.identities import NOTARY_SOURCE, ROOT_SOURCE, Identity
from shared.words import KeyId, LogIndex, SourceId, TrailError

TRIAL = "NCT06027853"
TOPOLOGY = Topology(TRIAL)
NOW = datetime(2026, 3, 4, tzinfo=UTC)


def nkey(number: int) -> str:
    """A user's public nkey, well-formed; nobody holds its seed."""
    raw = bytes([20 << 3]) + number.to_bytes(32, "big")
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")


NOTARY, ROOT = nkey(1), nkey(2)
FOUNDERS = [
    Identity(KeyId("0" * 31 + "1"), b"", "log", NOTARY_SOURCE, frozenset({"log"}), LogIndex(0)),
    Identity(KeyId("0" * 31 + "2"), b"", "root", ROOT_SOURCE, frozenset({"root"}), LogIndex(0)),
]


def identity(source: str, *roles: Role, number: int = 10, **more: object) -> Identity:
    made = Identity(
        KeyId(f"{number:032x}"),
        b"",
        f"holder {number}",
        SourceId(source),
        frozenset(roles),
        LogIndex(number),
        sites=frozenset({source.partition("/")[2]}) if source.startswith("site/") else None,
        broker=nkey(number),
    )
    return replace(made, **more)  # type: ignore[arg-type]


def made_of(*identities: Identity, at: datetime = NOW) -> Access:
    return access(TRIAL, [*FOUNDERS, *identities], at=at, notary=NOTARY, root=ROOT)


def the(user: Identity, *others: Identity) -> User:
    (one,) = [one for one in made_of(user, *others).users if one.key == user.broker]
    return one


def nats_reads(text: str, folder: Path) -> bool:
    path = folder / "accounts.conf"
    path.write_text(text, "utf-8")
    binary = Path(sysconfig.get_path("scripts")) / "nats-server"
    return subprocess.run([str(binary), "-t", "-c", str(path)], capture_output=True, check=False).returncode == 0


def covers(permission: str, subject: str) -> bool:
    """Whether a permission reaches into what a subject, itself perhaps with wildcards, names."""
    for mine, theirs in itertools.zip_longest(permission.split("."), subject.split(".")):
        if mine == ">" or theirs == ">":
            return True
        if mine is None or theirs is None or (mine != theirs and "*" not in {mine, theirs}):
            return False
    return True


@st.composite
def identities(draw: st.DrawFn) -> list[Identity]:
    """Identities as a log may hold them, with what the catalogue lets their sources be."""
    made = []
    for number in range(10, 10 + draw(st.integers(1, 12))):
        role = draw(st.sampled_from(sorted(KINDS_OF_ROLE)))
        kind = draw(st.sampled_from(KINDS_OF_ROLE[role]))
        name = role if kind == "service" else draw(st.sampled_from(["701", "702", "7", "acme"]))
        one = identity(f"{kind}/{name}", role, number=number)  # type: ignore[arg-type]
        made.append(
            replace(
                one,
                broker=draw(st.sampled_from([one.broker, one.broker, nkey(10), nkey(11), None, "U" + "A" * 55])),
                revoked=draw(st.sampled_from([None, None, LogIndex(99)])),
                suspended=draw(st.sampled_from([None, None, LogIndex(98)])),
                until=draw(st.sampled_from([None, NOW, NOW - timedelta(days=1), NOW + timedelta(days=1)])),
                sites=one.sites if kind == "site" else draw(st.sampled_from([None, frozenset({"701", "702"})])),
            )
        )
    return made


@given(identities())
def test_nobody_may_publish_but_under_his_own_prefix_and_what_reads_for_him(found: list[Identity]) -> None:
    made = made_of(*found)
    for user in made.users:
        prefix = f"{TOPOLOGY.intake_prefix(user.source)}.>"
        reading = [one for one in user.publish if one != prefix]
        roles = {
            role for one in found if one.broker == user.key and one.source == user.source for role in one.roles
        }
        for subject in reading:
            assert subject.startswith(
                (f"{API}.STREAM.INFO.", f"{API}.STREAM.MSG.GET.", f"{API}.CONSUMER.", "$JS.ACK.")
            )
            assert TOPOLOGY.log in subject.split(".")
            assert TOPOLOGY.intake not in subject.split(".")
            if "CONSUMER" in subject or "ACK" in subject:
                assert roles & {"screening", "safety"}
        for other in made.users:
            if other.source != user.source:
                assert not any(covers(one, f"{TOPOLOGY.intake_prefix(other.source)}.x.y") for one in user.publish)
                assert not any(covers(one, TOPOLOGY.receipt_subject(other.source)) for one in user.subscribe)


@given(identities())
def test_nobody_is_let_in_who_is_nobody_in_the_log(found: list[Identity]) -> None:
    made = made_of(*found)
    let_in = {(one.key, one.source) for one in made.users} - {(ROOT, ROOT_SOURCE)}
    for key, source in let_in:
        assert any(
            one.broker == key
            and one.source == source
            and one.revoked is None
            and one.suspended is None
            and (one.until is None or one.until > NOW)
            for one in found
        )
    assert made.notary.key == NOTARY
    assert len({one.key for one in made.users}) == len(made.users)
    assert write_access(made, 7) == write_access(made_of(*reversed(found)), 7)


@given(identities())
def test_a_broker_key_never_passes_to_another_source(found: list[Identity]) -> None:
    first: dict[str, SourceId] = {}
    for one in found:
        if one.broker is not None:
            first.setdefault(one.broker, one.source)
    for user in made_of(*found).users:
        if user.key != ROOT:
            assert user.source == first[user.key]


def test_every_role_gets_what_its_work_needs_and_nothing_else() -> None:
    log, trial = TOPOLOGY.log, TRIAL
    whole = {f"{API}.STREAM.INFO.{log}", f"{API}.STREAM.MSG.GET.{log}"}
    own = {f"intake.{trial}.site.701.>"}
    receipts = {INBOX, f"receipt.{trial}.site.701"}
    live = {f"log.{trial}.site.701.>"}
    at_sponsor = ({f"intake.{trial}.sponsor.a.>"}, {INBOX, f"receipt.{trial}.sponsor.a"})
    expected: dict[tuple[str, Role], tuple[set[str], set[str]]] = {
        ("site/701", "site_system"): (own, receipts),
        ("site/701", "coordinator"): (own, receipts | live),
        ("site/701", "investigator"): (own, receipts | live),
        ("site/701", "sub_investigator"): (own, receipts | live),
        ("sponsor/a", "sponsor"): at_sponsor,
        ("sponsor/a", "cohort_committee"): at_sponsor,
        ("sponsor/a", "monitor"): (at_sponsor[0] | whole, at_sponsor[1] | {f"log.{trial}.>"}),
        ("sponsor/a", "medical_monitor"): (at_sponsor[0] | whole, at_sponsor[1] | {f"log.{trial}.>"}),
        ("sponsor/a", "safety_physician"): (at_sponsor[0] | whole, at_sponsor[1] | {f"log.{trial}.>"}),
        ("sponsor/a", "auditor"): (whole, {INBOX, f"log.{trial}.>"}),
        ("admin/i", "inspector"): (whole, {INBOX, f"log.{trial}.>"}),
        ("admin/i", "administrator"): ({f"intake.{trial}.admin.i.>"}, {INBOX, f"receipt.{trial}.admin.i"}),
    }
    for role in ("screening", "safety"):
        deciding = {f"intake.{trial}.service.{role}.>", f"{API}.STREAM.MSG.GET.{log}", f"$JS.ACK.{log}.{role}.>"}
        deciding |= {f"{API}.CONSUMER.INFO.{log}.{role}", f"{API}.CONSUMER.MSG.NEXT.{log}.{role}"}
        expected[f"service/{role}", role] = (deciding, {INBOX, f"receipt.{trial}.service.{role}"})
    assert {role for _, role in expected} == set(KINDS_OF_ROLE)
    for (source, role), (publish, subscribe) in expected.items():
        user = the(identity(source, role))
        assert (set(user.publish), set(user.subscribe)) == (publish, subscribe), role


def test_a_reader_of_some_sites_hears_those_sites_and_reads_nothing_stored() -> None:
    user = the(identity("sponsor/a", "monitor", sites=frozenset({"701", "702"})))
    heard = {f"log.{TRIAL}.site.701.>", f"log.{TRIAL}.site.702.>", f"receipt.{TRIAL}.sponsor.a", INBOX}
    assert set(user.subscribe) == heard
    assert user.publish == (f"intake.{TRIAL}.sponsor.a.>",)
    auditor = the(identity("sponsor/a", "auditor", sites=frozenset({"701"})))
    assert auditor.publish == ()
    assert 'publish: { deny: [">"] }' in write_access(
        made_of(identity("sponsor/a", "auditor", sites=frozenset())), 1
    )


def test_the_notary_cannot_post_as_a_source() -> None:
    notary = made_of(identity("site/701", "site_system")).notary
    assert not any(covers(one, f"intake.{TRIAL}.site.701.x.y") for one in notary.publish)
    assert not any(what in one for one in notary.publish for what in ("STREAM.DELETE", "PURGE", "MSG.DELETE"))


def test_only_the_notarys_account_has_streams_and_nobody_is_let_in_without_a_key() -> None:
    text = write_access(
        made_of(identity("site/701", "site_system"), identity("site/702", "site_system", number=11)), 4
    )
    assert text.count("jetstream: enabled") == 1
    assert text.index("jetstream: enabled") - text.index(f"  {RECORD} {{") < 40
    for never in ("no_auth_user", "password", "token", "system_account"):
        assert never not in text
    assert text.count("nkey: ") == text.count("users: [") == 4


@pytest.mark.parametrize("key", ["U" + "A" * 55, nkey(77)[:-1] + "A", "UA", ""])
def test_a_key_that_nats_would_not_read_leaves_out_one_user_and_not_the_configuration(
    key: str, tmp_path: Path
) -> None:
    assert not is_user_key(key)
    made = made_of(identity("site/701", "site_system", broker=key), identity("site/702", "site_system", number=11))
    assert [one.source for one in made.users] == [ROOT_SOURCE, SourceId("site/702")]
    assert "its broker key is no user's nkey" in made.left_out[0]
    assert nats_reads(write_access(made, 3), tmp_path)


def test_a_holders_name_adds_nothing_to_the_configuration(tmp_path: Path) -> None:
    vandal = 'x"\n} } no_auth_user: x\n accounts { Y { users: [ { user: x, password: y } ] } }\n#'
    revoked = identity("site/702", "site_system", number=11, holder=vandal, revoked=LogIndex(12))
    text = write_access(made_of(identity("site/701", "site_system", holder=vandal), revoked), 3)
    assert not [line for line in text.splitlines() if "no_auth_user" in line and not line.lstrip().startswith("#")]
    assert len([line for line in text.splitlines() if "no_auth_user" in line]) == 2
    assert nats_reads(text, tmp_path)


def test_a_key_is_a_seed_in_nats_own_spelling_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    import nkeys

    path = tmp_path / "keys" / "site.nk"
    public = make_seed(path)
    seed = read_seed(path)
    assert nkeys.from_seed(bytearray(seed.encode())).public_key.decode() == public == public_of(seed)
    assert is_user_key(public)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(TrailError, match="already a broker key"):
        make_seed(path)
    path.write_text(public)
    with pytest.raises(TrailError, match="no NATS user seed"):
        read_seed(path)


def test_whoever_may_say_anything_in_the_log_may_post_and_nobody_else() -> None:
    speaking = {role for allowed in authority().events.values() for role in allowed}
    for role, kinds in KINDS_OF_ROLE.items():
        user = the(identity(f"{kinds[0]}/{role if kinds[0] == 'service' else 'x'}", role))  # type: ignore[arg-type]
        posts = any(one.startswith("intake.") for one in user.publish)
        assert posts == (role in speaking), role
