"""Each figure beside its floor, measured in turn in one run: ``make bench``.

Absolute numbers are this machine's; the ratios are the point. A floor is the part of the work that nobody can
leave out, done in the same way: the same Ed25519 verifications on the same threads, the same rows inserted by the
same library in the same transactions, the same bytes hashed.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

from rich.table import Table
from sqlalchemy import insert

from services.audit.checkpoints import Checkpoints
from services.audit.log import Log
from services.audit.log_tables import ENTRIES, LOG_STORE
from services.audit.places import Places
from services.audit.verify import Verifier
from services.cli.beginning import begin_log
from services.cli.delivery import line
from services.cli.installation import Installation
from services.cli.output import out, say
from services.cli.stack import Stack
from services.cli.study import synthetic_study
from services.screening.decide import ScreeningDecider
from shared.database import sqlite
from shared.decider import Machine, read_event
from shared.drafts import Draft
from shared.entry import Arrival, leaf_hash, read_entry, signature_bytes
from shared.identities import ROOT_SOURCE
from shared.merkle import node_hash
from shared.moments import stamp
from shared.signing import verify_event
from shared.words import SourceId
from tests.golden.record import golden_path, read_golden
from tests.inprocess import LOG_KEY, TRIAL, InProcess, seeded_key

EVENTS = 10_000
BATCH = 500
ROUNDS = 3
CORES = os.cpu_count() or 2
SITE = SourceId("site/701")


def weights(count: int, time_text: str) -> list[Draft]:
    """A participant's registration and ``count - 1`` observations of about 1 KB with headers and envelope."""
    note = "x" * 440
    drafts = [
        Draft(source=SITE, type="screening.registered", subject="701-001", time=time_text, data={"sex": "female"})
    ]
    for at in range(count - 1):
        data = {"topic": "copd", "answer": "no", "on": "2026-01-01", "detail": f"{at} {note}"}
        drafts.append(Draft(source=SITE, type="screening.attested", subject="701-001", time=time_text, data=data))
    return drafts


def signed_batches(
    directory: Path, places: Places | None = None, trial: str = TRIAL
) -> tuple[InProcess, list[list[Arrival]]]:
    """A fresh log with site 701's key granted, and the events to seal, signed beforehand."""
    days = synthetic_study()
    protocol = files("shared.protocol").joinpath("nct06027853.yaml").read_text("utf-8")
    study = InProcess(directory, days[0].at, protocol, places=places, trial=trial)
    study.grant(SITE, "site_system")
    key = seeded_key(f"{SITE} site_system")
    arrivals = [study._arrival(draft, key, None) for draft in weights(EVENTS, stamp(days[0].at))]
    return study, [arrivals[at : at + BATCH] for at in range(0, EVENTS, BATCH)]


def check_signatures(arrivals: Sequence[Arrival], public: bytes) -> None:
    """The verifications that nobody can leave out, on all cores."""
    tasks = [(signature_bytes(one.signature) or b"", one.payload) for one in arrivals]

    def check(some: list[tuple[bytes, bytes]]) -> bool:
        return all(verify_event(public, signature, payload) for signature, payload in some)

    with ThreadPoolExecutor(CORES) as workers:
        assert all(workers.map(check, [tasks[at::CORES] for at in range(CORES)]))


def sealing() -> tuple[float, float]:
    """Seconds to seal all events, and to do its floor."""
    with tempfile.TemporaryDirectory() as directory:
        study, batches = signed_batches(Path(directory))
        began = time.perf_counter()
        for batch in batches:
            study.notary.seal(batch)
        ours = time.perf_counter() - began
        rows = list(study.notary.log.rows(study.notary.size - EVENTS))
        study.notary.close()
    with tempfile.TemporaryDirectory() as directory:
        engine = sqlite(Path(directory) / "floor.sqlite")
        LOG_STORE.metadata.create_all(engine)
        public = seeded_key(f"{SITE} site_system").public
        began = time.perf_counter()
        for at, batch in enumerate(batches):
            check_signatures(batch, public)
            with engine.begin() as connection:
                values = [
                    {"idx": row.idx, "ref": row.ref, "entry": row.raw}
                    for row in rows[at * BATCH : (at + 1) * BATCH]
                ]
                connection.execute(insert(ENTRIES), values)
        floor = time.perf_counter() - began
        engine.dispose()
    return ours, floor


def verifying(directory: Path) -> tuple[float, float]:
    """Seconds to verify a whole log, and to hash and signature-check the same bytes."""
    log = Log.at(directory / "audit" / "log.sqlite", read_only=True)
    store = Checkpoints.at(directory / "checkpoints" / "checkpoints.sqlite", read_only=True)
    began = time.perf_counter()
    report = Verifier(TRIAL, LOG_KEY, lambda index: log.entry(index).raw).run(log.rows(), store.all())
    ours = time.perf_counter() - began
    assert report.good, report.faults
    keys = {seeded_key(name).id: seeded_key(name).public for name in ("log", "root", f"{SITE} site_system")}
    tasks = []
    for row in log.rows():
        arrival = read_entry(row.raw).arrival
        tasks.append((keys[arrival.key], signature_bytes(arrival.signature) or b"", arrival.payload))  # type: ignore[index]
    began = time.perf_counter()
    with ThreadPoolExecutor(CORES) as workers:
        shares = [
            workers.submit(lambda some: all(verify_event(*task) for task in some), tasks[at::CORES])
            for at in range(CORES)
        ]
        level: list[bytes] = [leaf_hash(row.raw) for row in log.rows()]
        while len(level) > 1:
            pairs = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
            level = pairs + level[len(pairs) * 2 :]
        assert all(share.result() for share in shares)
    floor = time.perf_counter() - began
    assert level[0].hex() == report.root
    log.close()
    store.close()
    return ours, floor


async def through_the_stack(home: Installation, url: str) -> tuple[float, list[float]]:
    """Events a second from publish to verified receipt in bulk, and single events' latencies in seconds."""
    async with line(home, url) as connected:
        now = "2026-01-02T09:00:00+08:00"
        drafts = weights(5_000, now)
        connected.post.put(connected.post.missing_grants(drafts))
        await connected.deliver([ROOT_SOURCE])
        connected.post.put(drafts)
        began = time.perf_counter()
        assert await connected.deliver([SITE], timeout=120)
        rate = len(drafts) / (time.perf_counter() - began)
        latencies = []
        for at in range(300):
            data = {
                "item": "weight",
                "value": 70,
                "unit": "kg",
                "collected": f"2026-01-01T{at // 60:02}:{at % 60:02}",
            }
            draft = Draft(source=SITE, type="screening.observed", subject="701-001", time=now, data=data)
            connected.post.put([draft])
            began = time.perf_counter()
            assert await connected.deliver([SITE], timeout=10)
            latencies.append(time.perf_counter() - began)
            await asyncio.sleep(0.01)
        return rate, sorted(latencies)


def deciding() -> tuple[float, float]:
    """Seconds to decide on the golden log, and to read and decode the same entries with no decision made."""
    entries = [entry for entry, _ in read_golden(golden_path("screening/1"))]
    machine = Machine(ScreeningDecider())
    began = time.perf_counter()
    for entry in entries:
        machine.feed(entry)
    ours = time.perf_counter() - began
    began = time.perf_counter()
    for entry in entries:
        read_event(entry)
    return ours, time.perf_counter() - began


def median_pair(measure: Callable[[], tuple[float, float]]) -> tuple[float, float, float]:
    """Medians of ours and floor over some rounds, and the median of the rounds' own ratios."""
    pairs = [measure() for _ in range(ROUNDS)]
    ratio = statistics.median(ours / floor for ours, floor in pairs)
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs), ratio


def main() -> None:
    """Measure and print."""
    table = Table("what", "ours", "its floor", "ratio", "aim")
    ours, floor, ratio = median_pair(sealing)
    table.add_row(
        f"sealing {EVENTS} events of 1 KB, batches of {BATCH}",
        f"{EVENTS / ours:,.0f}/s",
        f"{EVENTS / floor:,.0f}/s",
        f"{ratio:.2f}",
        "1.5",
    )
    with tempfile.TemporaryDirectory() as name:
        study, batches = signed_batches(Path(name))
        for batch in batches:
            study.notary.seal(batch)
        study.notary.close()
        ours, floor, ratio = median_pair(lambda: verifying(Path(name)))
    rates = f"{EVENTS / ours:,.0f}/s", f"{EVENTS / floor:,.0f}/s"
    table.add_row(f"verifying {EVENTS} entries in full", *rates, f"{ratio:.2f}", "1.5")
    ours, floor, ratio = median_pair(deciding)
    table.add_row(
        "deciding on the golden log, against decoding it", f"{ours:.2f} s", f"{floor:.2f} s", f"{ratio:.2f}", ""
    )
    out.print(table)
    with tempfile.TemporaryDirectory() as name:
        home = begin_log(Path(name) / "trial", practice=True)
        stack = Stack(home)
        try:
            stack.start()
            rate, latencies = asyncio.run(through_the_stack(home, stack.url))
        finally:
            stack.stop()
    p50, p99 = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
    say(
        f"end to end, publish to verified receipt, fsync on every commit: {rate:,.0f} events/s in bulk; one at a "
        f"time p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms"
    )


if __name__ == "__main__":
    main()
