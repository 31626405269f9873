"""A log of a million entries: proofs, start-up, and the verification of its hashes beside their floor.

``python -m tests.benchmarks.million [--entries N] [--keep DIR]``

The entries have the real form and size, but were put there by tests/synthetic_log.py: chained, hung into the tree,
stored and signed as ever, not admitted and with no signatures of their own. The log is built once and kept.
"""

import argparse
import math
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from statistics import linear_regression, median
from typing import NamedTuple

from rich.table import Table

from services.audit.checkpoints import Checkpoints
from services.audit.hashes import verify_hashes
from services.audit.log import Log
from services.cli.output import COULD_NOT_RUN, complain, out, progress, say
from shared.checkpoint import open_checkpoint
from shared.merkle import root_from_inclusion
from tests.notary import LOG_KEY
from tests.synthetic_log import found, grow

MORE = 1_000
"""Entries behind the log's measured size, for the verification that goes on."""
BYTES_AN_ENTRY = 1_150
"""What an entry of 1 KB takes on disk, with its index key and its share of the tree."""
SAMPLES = 2_000
ROUNDS = 5
CORES = os.cpu_count() or 2
RUN = 8_192


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()), help="where the log is kept")
    chosen = parser.parse_args()
    directory = built(chosen.keep, chosen.entries)
    if directory is None:
        return COULD_NOT_RUN
    table = Table("what", "measured", "aim")
    proofs(directory, chosen.entries, table)
    start_up(directory, chosen.entries, table)
    hashes(directory, chosen.entries, table)
    out.print(table)
    return 0


def built(keep: Path, entries: int) -> Path | None:
    """The directory of a log of so many entries and a few more, built if it is not there; None for want of room."""
    directory = keep / f"trialtrail-log-{entries}"
    if directory.exists():
        return directory
    needed, free = (entries + MORE) * BYTES_AN_ENTRY, shutil.disk_usage(keep).free
    if free < needed * 1.2:
        complain(
            f"a log of {entries:,} entries takes {needed / 1e9:.1f} GB, and {keep} has {free / 1e9:.1f} GB left: "
            "name another place with --keep, or fewer entries with --entries"
        )
        return None
    unfinished = directory.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    found(unfinished)
    began = time.perf_counter()
    with progress("building the log", entries + MORE) as advance:
        grow(unfinished, entries, progress=advance)
        grow(unfinished, entries + MORE, progress=advance)
    say(f"built in {time.perf_counter() - began:.0f} s, kept in {directory}")
    return unfinished.rename(directory)


def log_path(directory: Path) -> Path:
    return directory / "audit" / "log.sqlite"


def signed_roots(directory: Path) -> dict[int, bytes]:
    """The root under each checkpoint."""
    store = Checkpoints.at(directory / "checkpoints" / "checkpoints.sqlite", read_only=True)
    with closing(store):
        return {size: open_checkpoint(note, LOG_KEY).root for _, size, note in store.all()}


def proofs(directory: Path, entries: int, table: Table) -> None:
    """Inclusion proofs of random entries in trees of growing size."""
    chance = random.Random(9162)
    log = Log.at(log_path(directory), read_only=True)
    sizes = [size for size in (10**power for power in range(3, 10)) if size < entries] + [entries]
    medians = []
    with closing(log):
        for size in sizes:
            seconds = timed_proofs(log, size, chance, cold=True)
            medians.append(median(seconds))
            table.add_row(f"an inclusion proof in {size:,} entries, nothing in memory", told(seconds), "")
        if len(sizes) > 1:
            slope = linear_regression([math.log(n) for n in sizes], [math.log(one) for one in medians]).slope
            table.add_row("its growth with the log", f"log-log slope {slope:.3f}", "flat: 0 (linear: 1)")
        seconds = timed_proofs(log, entries, chance, cold=False)
        table.add_row(
            f"an inclusion proof in {entries:,} entries, by a process that goes on", told(seconds), "2 ms"
        )


def timed_proofs(log: Log, size: int, chance: random.Random, *, cold: bool) -> list[float]:
    """Seconds for each of many proofs, ascending, in trees of about one size: the last tile's share counts too."""
    return sorted(one_proof(log, size - chance.randrange(256), chance, cold=cold) for _ in range(SAMPLES))


def one_proof(log: Log, size: int, chance: random.Random, *, cold: bool) -> float:
    """Seconds to make a proof; that it holds is checked when the clock has stopped."""
    index = chance.randrange(size)
    if cold:
        log.subtrees._full.cache_clear()
    began = time.perf_counter()
    tree = log.tree(size)
    path = tree.inclusion(index)
    took = time.perf_counter() - began
    if root_from_inclusion(log.entry(index).leaf, index, size, path) != tree.root():
        raise AssertionError(f"the proof of entry {index} in a tree of {size} does not hold")
    return took


def told(seconds: Sequence[float]) -> str:
    """Median and worst hundredth of ascending times."""
    return f"p50 {median(seconds) * 1e3:.2f} ms, p99 {seconds[len(seconds) * 99 // 100] * 1e3:.2f} ms"


_START = """
import sys, time
from pathlib import Path
began = time.perf_counter()
from tests.notary import Office
imported = time.perf_counter()
notary = Office(Path(sys.argv[1])).notary
print(notary.size, imported - began, time.perf_counter() - imported, flush=True)
notary.close()
"""


def start_up(directory: Path, entries: int, table: Table) -> None:
    """From starting a process to a notary that is ready to seal."""
    whole, importing, opening = [], [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        command = [sys.executable, "-c", _START, str(directory)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            size, imported, opened = process.stdout.readline().split()
            whole.append(time.perf_counter() - began)
        assert int(size) == entries + MORE
        importing.append(float(imported))
        opening.append(float(opened))
    taken = f"{median(whole):.2f} s ({median(importing):.2f} s of it imports)"
    table.add_row(f"start-up of a notary with {entries:,} entries", taken, "2 s")
    table.add_row("of that, opening the log", f"{median(opening) * 1e3:.0f} ms", "")


class Verified(NamedTuple):
    """Seconds that one verification took and that it computed, and the peak memory of all its processes."""

    seconds: float
    computing: float
    memory: int


_VERIFY = """
import os, sys, time
from pathlib import Path
from services.audit.hashes import verify_hashes
from tests.benchmarks.million import signed_roots
roots = {size: root for size, root in signed_roots(Path(sys.argv[1])).items() if size <= int(sys.argv[2])}
began, busy = time.perf_counter(), os.times()
report = verify_hashes(Path(sys.argv[1]) / "audit" / "log.sqlite", roots, stop=int(sys.argv[2]))
took, after = time.perf_counter() - began, os.times()
assert report.fault is None, report.fault
print(took, sum(after[:4]) - sum(busy[:4]), flush=True)
"""


def full_verification(directory: Path, entries: int) -> Verified:
    """Verify all hashes in a process of its own, and watch that process and those it starts."""
    command = [sys.executable, "-c", _VERIFY, str(directory), str(entries)]
    peaks: dict[int, int] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            for pid in [process.pid, *children_of(process.pid)]:
                peaks[pid] = max(peaks.get(pid, 0), peak_memory(pid))
            time.sleep(0.02)
        assert process.stdout is not None
        took, busy = process.stdout.read().split()
    return Verified(float(took), float(busy), sum(peaks.values()))


def children_of(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def peak_memory(pid: int) -> int:
    """The most memory that a process has held, in bytes; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def floor_of(path: Path, start: int, stop: int) -> float:
    """What nobody can leave out: the rows read by the same library, hashed, and the inner nodes over them.

    Returns the seconds it computed.
    """
    began = time.process_time()
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT entry FROM entries WHERE idx >= ? AND idx < ?", (start, stop))
        level = [sha256(b"\x00" + raw).digest() for (raw,) in rows]
    assert len(level) == stop - start
    while len(level) > 1:
        odd = level[len(level) & ~1 :]
        level = [sha256(b"\x01" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)] + odd
    return time.process_time() - began


def hashing_floor(pool: ProcessPoolExecutor, path: Path, entries: int) -> tuple[float, float]:
    """Seconds of the floor on processes that were started before, and the seconds that they computed."""
    starts = range(0, entries, RUN)
    stops = [min(start + RUN, entries) for start in starts]
    began = time.perf_counter()
    computing = sum(pool.map(floor_of, [path] * len(stops), starts, stops))
    return time.perf_counter() - began, computing


def hashes(directory: Path, entries: int, table: Table) -> None:
    """The full verification in turn with its floor, then one that goes on behind it."""
    path, roots = log_path(directory), signed_roots(directory)
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        hashing_floor(pool, path, min(entries, CORES * RUN))  # the processes are there before any clock starts
        runs = [(full_verification(directory, entries), hashing_floor(pool, path, entries)) for _ in range(ROUNDS)]
    ours = median(one.seconds for one, _ in runs)
    floor = median(seconds for _, (seconds, _) in runs)
    ratio = median(one.seconds / seconds for one, (seconds, _) in runs)
    work = median(one.computing / computing for one, (_, computing) in runs)
    memory = max(one.memory for one, _ in runs)
    cores = median(one.computing / one.seconds for one, _ in runs)
    table.add_row(f"verifying the hashes of {entries:,} entries", f"{ours:.2f} s ({entries / ours:,.0f}/s)", "")
    table.add_row("against its floor", f"{ratio:.2f} times {floor:.2f} s ({work:.2f} times the work)", "1.5 times")
    table.add_row("its cores", f"{cores:.2f} of {CORES} busy", "all")
    table.add_row("its memory, all processes together", f"{memory / 1e6:.0f} MB", "250 MB")
    until = {size: root for size, root in roots.items() if size <= entries}
    verified = verify_hashes(path, until, stop=entries).verified
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        assert verify_hashes(path, roots, since=verified).fault is None
        seconds.append(time.perf_counter() - began)
    again = median(seconds)
    table.add_row(
        f"going on after {MORE:,} more entries",
        f"{again * 1e3:.1f} ms, {again / ours:.2%} of all",
        f"{MORE / entries:.2%} of all, once started",
    )


if __name__ == "__main__":
    sys.exit(main())
