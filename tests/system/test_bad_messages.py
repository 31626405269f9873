"""Whatever reaches the intake of the real system is sealed, refused with its bytes, and stops nothing else."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.beginning import begin_log
from services.cli.delivery import line, settled
from services.cli.installation import Installation
from services.cli.reading import reading, verify
from services.cli.stack import Stack
from shared.broker import MAX_MESSAGE_BYTES
from shared.drafts import Draft
from shared.entry import Entry, digest_body
from shared.identities import ROOT_SOURCE
from shared.words import SourceId

T = "NCT06027853"
SITE = SourceId("site/701")
NOW = "2026-03-04T09:00:00+08:00"

# What is wrong: (subject, payload, headers). None of it is signed by anybody.
GARBAGE: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "empty": (f"intake.{T}.site.701.screening.observed", b"", {}),
    "not JSON": (f"intake.{T}.site.701.screening.observed", b"hello", {}),
    "not UTF-8": (f"intake.{T}.site.701.screening.observed", b"\xff\xfe\x00", {}),
    "deep nesting": (f"intake.{T}.site.701.screening.observed", b"[" * 50_000, {}),
    "too large for an event": (f"intake.{T}.site.701.screening.observed", b"x" * 100_000, {}),
    "a subject of one token": (f"intake.{T}.x", b"{}", {}),
    "a subject nobody has": (f"intake.{T}.nobody.at.all.to.hear.of.it", b"{}", {}),
    "a subject in another script": (f"intake.{T}.site.地点.screening.observed", b"{}", {}),
    "a very long subject": (f"intake.{T}.site." + "a" * 900, b"{}", {}),
    "a subject that is cut at a dot": (f"intake.{T}.site.701." + "a" * 483 + ".b", b"{}", {}),
    "absurd headers": (
        f"intake.{T}.site.701.screening.observed",
        b"{}",
        {"Trail-Key": "k" * 10_000, "Trail-Signature": "not base64", "Content-Type": "application/json"},
    ),
    "a body that looks like an entry's stand-in": (
        f"intake.{T}.site.701.screening.observed",
        digest_body(b"y" * 70_000),
        {},
    ),
}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[tuple[Installation, Stack]]:
    made = begin_log(tmp_path / "trial")
    stack = Stack(made)
    try:
        stack.start()
        yield made, stack
    finally:
        stack.stop()


async def post_everything(made: Installation, url: str, port: int) -> None:
    async with line(made, url) as connected:
        for subject, payload, headers in GARBAGE.values():
            await connected.js.publish(subject, payload, stream=made.topology.intake, headers=headers or None)
        publish_malformed_headers(port, f"intake.{T}.site.701.screening.observed")
        with pytest.raises(Exception, match="maximum"):
            await connected.js.publish(f"intake.{T}.x", b"z" * (MAX_MESSAGE_BYTES + 1), stream=made.topology.intake)
        assert len(f"intake.{T}.site.701." + "a" * 483) == 511, "the 512th character is the dot"
        good = [Draft(source=SITE, type="screening.registered", subject="701-001", time=NOW, data={"sex": "male"})]
        connected.post.put(connected.post.missing_grants(good))
        assert await connected.deliver([ROOT_SOURCE], timeout=30)
        connected.post.put(good)
        assert await connected.deliver([SITE], timeout=30), "a good event after all that is sealed as usual"
        assert await settled(connected.js, made.topology, 30)


def publish_malformed_headers(port: int, subject: str) -> None:
    """Header lines that are no headers, as only a hand-written client sends them."""
    headers = b"NATS/1.0\r\nno colon at all\r\n: no name\r\nTrail-Key:\xff\xfe\r\nTrail-Key: twice\r\n\r\n"
    body = b"garbage behind garbage"
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.recv(65536)
        raw.sendall(b'CONNECT {"verbose":false,"headers":true}\r\nPING\r\n')
        raw.recv(65536)
        head = b"HPUB %s %d %d\r\n" % (subject.encode(), len(headers), len(headers) + len(body))
        raw.sendall(head + headers + body + b"\r\nPING\r\n")
        raw.recv(65536)
        strange = b"intake.%s.site.\xff\xfe.screening.observed" % T.encode()
        raw.sendall(b"PUB %s 19\r\nbehind no UTF-8 at all\r\nPING\r\n".replace(b"19", b"22") % strange)
        raw.recv(65536)


def test_garbage_is_sealed_as_refused_with_its_bytes_and_stops_nothing(home: tuple[Installation, Stack]) -> None:
    made, stack = home
    asyncio.run(post_everything(made, stack.url, int(stack.url.rpartition(":")[2])))
    with reading(made) as source:
        entries = list(source.log.entries())
        report = verify(source)
    refused = [entry for entry in entries if not entry.admitted]
    bodies = [entry.body for entry in refused]
    for what, (subject, payload, _) in GARBAGE.items():
        expected = payload if len(payload) <= 60_000 else digest_body(payload)
        (entry,) = [one for one in refused if one.body == expected and same_subject(one, subject)]
        assert entry.header.reason, what
    assert b"garbage behind garbage" in bodies
    assert b"behind no UTF-8 at all" in bodies
    assert len(refused) == len(GARBAGE) + 2
    assert report.faults == []
    assert all(entry.header.reason.isprintable() for entry in refused)


def same_subject(entry: Entry, subject: str) -> bool:
    return subject.startswith(entry.header.subject)
