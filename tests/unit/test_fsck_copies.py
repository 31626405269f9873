"""`trail fsck` holds what others keep of the log against it: the LOG stream and the witnesses."""

import asyncio
import re
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import pytest

from services.audit.checkpoints import Checkpoints
from services.audit.log import Log
from services.witness.witness import Witness
from shared.broker import CHECKPOINT_HEADER, Topology, connect, encode_note, publish_batch
from shared.policy import Policy
from shared.policy import Witness as WitnessOf
from tests.damage import DAMAGE, check, copy_to, in_checkpoints, make, signed_anew, told
from tests.notary import LOG_KEY, TRIAL
from tests.witness import served

MESSAGE = tuple[str, bytes, dict[str, str]]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody changes it."""
    directory = tmp_path_factory.mktemp("original")
    make(directory)
    return directory


@pytest.fixture
def home(original: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return copy_to(original, tmp_path / "home")


# LOG.


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A real broker."""
    server = Path(sysconfig.get_path("scripts")) / "nats-server"
    arguments = [str(server), "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", str(tmp_path / "broker")]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = "".join(takewhile(lambda line: "Server is ready" not in line, process.stderr))
            (address,) = re.findall(r"client connections on (\S+)", said)
            yield f"nats://{address}"
        finally:
            process.kill()


def messages_of(directory: Path) -> list[MESSAGE]:
    """What the notary publishes to LOG."""
    log = Log.at(directory / "audit" / "log.sqlite", read_only=True)
    notes = {size: note for _, size, note in Checkpoints.at(directory / "checkpoints" / "checkpoints.sqlite").all()}
    made = []
    for entry in log.entries():
        note = notes.get(entry.index + 1)
        headers = {} if note is None else {CHECKPOINT_HEADER: encode_note(note)}
        made.append((Topology(TRIAL).log_subject(entry.header.subject), entry.raw, headers))
    log.close()
    return made


def fill(url: str, messages: Sequence[MESSAGE], delete: Sequence[int] = ()) -> None:
    """A stream of these messages, as whoever owns the broker can make it."""

    async def publish() -> None:
        client = await connect(url, "test")
        js = client.jetstream()
        await js.add_stream(replace(Topology(TRIAL).streams()[1], deny_delete=False))
        for at in range(0, len(messages), 500):
            await publish_batch(client, list(messages[at : at + 500]), f"batch-{at}")
        for sequence in delete:
            await js.delete_msg(Topology(TRIAL).log, sequence)
        await client.close()

    asyncio.run(publish())


def without_checkpoint(message: MESSAGE) -> MESSAGE:
    return message[0], message[1], {}


def test_a_stream_that_nobody_touched_agrees(
    original: Path, broker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(broker, messages_of(original))
    code, report = check(original, capsys, broker=broker)
    assert (code, report["disagreements"]) == (0, [])
    assert "1193 messages of LOG" in report["looked"]


STREAMS: dict[str, tuple[Callable[[list[MESSAGE]], list[MESSAGE]], Sequence[int], str]] = {
    "a message is changed": (
        lambda all_: [*all_[:57], (all_[57][0], all_[57][1] + b" ", all_[57][2]), *all_[58:]],
        [],
        "changed LOG message: LOG message 58 is not entry 57 of the database",
    ),
    "two messages are swapped": (
        lambda all_: [*all_[:57], all_[58], all_[57], *all_[59:]],
        [],
        "changed LOG message: LOG message 59 is not entry 58 of the database",
    ),
    "a message is deleted": (lambda all_: all_, [600], "changed LOG message: LOG message 600 is missing"),
    "the first message is deleted": (lambda all_: all_, [1], "changed LOG message: LOG message 1 is missing"),
    "the last message is deleted": (
        lambda all_: all_,
        [1192, 1193],
        "changed LOG message: LOG message 1193 is missing",
    ),
    "a checkpoint is another": (
        lambda all_: [*all_[:6], (*all_[6][:2], {CHECKPOINT_HEADER: encode_note(signed_anew(7))}), *all_[7:]],
        [],
        "changed LOG message: LOG message 7 carries another checkpoint than the one kept over 7 entries",
    ),
    "a checkpoint is none": (
        lambda all_: [*all_[:6], (*all_[6][:2], {CHECKPOINT_HEADER: "?"}), *all_[7:]],
        [],
        (
            "changed LOG message: LOG message 7 carries no readable checkpoint: the Trail-Checkpoint header cannot "
            "be read"
        ),
    ),
    "the last checkpoint is left out": (
        lambda all_: [*all_[:-1], without_checkpoint(all_[-1])],
        [],
        "LOG behind the database: LOG message 1193 carries no checkpoint, so readers wait for one",
    ),
    "the end is not there yet": (
        lambda all_: all_[:1062],
        [],
        "LOG behind the database: LOG holds 1062 of 1193 signed entries",
    ),
    "the stream is empty": (
        lambda _all: [],
        [],
        "LOG behind the database: LOG holds 0 of 1193 signed entries",
    ),
    "there is more than the database has": (
        lambda all_: [*all_, all_[3]],
        [],
        "entries cut off: LOG holds 1194 entries and the database 1193: an older one was put back, or it was cut",
    ),
}


@pytest.mark.parametrize("what", STREAMS)
def test_whatever_differs_in_the_stream_is_named(
    original: Path, broker: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, delete, sentence = STREAMS[what]
    fill(broker, change(messages_of(original)), delete)
    code, report = check(original, capsys, broker=broker)
    assert code == 1
    assert sentence in told(report)


def test_a_stream_is_compared_where_the_database_has_a_gap(
    home: Path, broker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = messages_of(home)
    fill(broker, [*messages[:57], (messages[57][0], b"x", {}), *messages[58:]])
    DAMAGE["an entry is deleted"][0](home)
    code, report = check(home, capsys, broker=broker)
    assert code == 1
    assert "missing entry: entry 200 is missing" in told(report)
    assert [one for one in told(report) if "LOG" in one] == [
        "changed LOG message: LOG message 58 is not entry 57 of the database"
    ]


def test_a_broker_without_the_stream_is_said(
    original: Path, broker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = check(original, capsys, broker=broker)
    assert code == 0
    assert any(one.startswith("the rest of LOG, which the broker does not give") for one in report["not_looked"])


# Witnesses.


@contextmanager
def witnessed_by(directory: Path, *notes: tuple[int, str]) -> Iterator[Witness]:
    """A real witness over HTTP that the directory's policy asks for; it has been given ``notes`` already."""
    witness = Witness.at(directory / "elsewhere", "witness.example/one", [LOG_KEY])
    for old, note in notes:
        assert witness.add(f"old {old}\n\n{note}".encode()).status == 200
    try:
        with served(witness) as url:
            one = WitnessOf("one", witness.key, url)
            (directory / "policy").write_text(Policy((LOG_KEY,), {"one": one}, {}, "one").text())
            yield witness
    finally:
        witness.close()


def test_a_witness_cosigns_a_log_that_agrees(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with witnessed_by(home):
        for cosigned in (0, 1):
            code, report = check(home, capsys)
            assert (code, report["disagreements"]) == (0, [])
            assert "the witness one has cosigned the last checkpoint" in report["looked"]
            witnessed = 1193 if cosigned else 0
            assert f"{cosigned} cosignatures; by the policy, {witnessed} entries are witnessed" in report["looked"]


@pytest.mark.parametrize(
    ("size", "sentence"), [(1193, "has cosigned other 1193 entries"), (1300, "has cosigned 1300 entries")]
)
def test_a_witness_that_has_seen_another_log_is_named(
    home: Path, size: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with witnessed_by(home, (0, signed_anew(size))):
        code, report = check(home, capsys)
    assert code == 1
    (fork,) = told(report)
    assert fork.startswith("fork seen by a witness: witness one ")
    assert sentence in fork


def test_witnesses_are_not_asked_about_a_log_that_contradicts_itself(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGE["an entry's body is changed"][0](home)
    with witnessed_by(home) as witness:
        _, report = check(home, capsys)
        assert witness.health()["logs"] == {LOG_KEY.name: 0}
    assert any(one.startswith("the witness one: it is asked once the log agrees") for one in report["not_looked"])


def test_a_witness_that_does_not_answer_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with witnessed_by(home):
        pass
    code, report = check(home, capsys)
    assert code == 0
    assert any(one.startswith("the witness one (http://127.0.0.1:") for one in report["not_looked"])


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        (
            "INSERT INTO cosignatures SELECT 1062, witness, time, line FROM cosignatures",
            (
                "cosignature: cosignatures the checkpoint over 1062 entries: the cosignature of "
                "witness.example/one on the checkpoint is broken"
            ),
        ),
        (
            "INSERT INTO cosignatures SELECT 1000, witness, time, line FROM cosignatures",
            "cosignature: cosignatures a checkpoint over 1000 entries was cosigned, and it is missing",
        ),
        (
            "INSERT INTO cosignatures SELECT 1062, witness, time, x'00' FROM cosignatures",
            "cosignature: cosignatures a cosignature is not stored as one: the cosignatures were changed",
        ),
    ],
)
def test_a_cosignature_that_does_not_hold_is_named(
    home: Path, statement: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with witnessed_by(home):
        assert check(home, capsys)[0] == 0
        in_checkpoints(statement)(home)
        code, report = check(home, capsys)
    assert (code, told(report)) == (1, [sentence])
