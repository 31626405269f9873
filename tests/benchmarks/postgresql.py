"""Sealing in PostgreSQL beside its floor and beside SQLite, and two trials beside one; all in one run.

The floor is what nobody can leave out: the same Ed25519 verifications on the same threads, and the same rows, by
COPY, in the same transactions, into a plain table with the same index, without hashing, ruling or remembering.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
from rich.table import Table

from services.audit.places import Places
from services.cli.databases import create
from services.cli.output import out, say
from shared.database import as_role
from tests.benchmarks.bench import BATCH, EVENTS, ROUNDS, SITE, check_signatures, sealing, signed_batches
from tests.inprocess import TRIAL, seeded_key
from tests.postgres import database, missing, server

OTHER = "NCT00000001"


def places(owner: str, trial: str, passwords: Path) -> Places:
    """A trial's place in a database, made anew, as its notary."""
    return Places.in_database(as_role(create(owner, trial, passwords), trial, "notary", passwords), trial)


def sealing_in_postgresql(url: str) -> tuple[float, float]:
    """Seconds to seal all events, and to do its floor."""
    owner = database(url, "bench")
    with tempfile.TemporaryDirectory() as name:
        study, batches = signed_batches(Path(name), places(owner, TRIAL, Path(name) / "keys"))
        began = time.perf_counter()
        for batch in batches:
            study.notary.seal(batch)
        ours = time.perf_counter() - began
        rows = list(study.notary.log.rows(study.notary.size - EVENTS))
        study.notary.close()
    public = seeded_key(f"{SITE} site_system").public
    with psycopg.connect(owner) as connection:
        connection.execute("CREATE TABLE floor (idx bigint PRIMARY KEY, ref bigint NOT NULL, entry bytea NOT NULL)")
        connection.execute("CREATE INDEX ON floor (ref)")
        connection.commit()
        began = time.perf_counter()
        for at, batch in enumerate(batches):
            check_signatures(batch, public)
            with connection.cursor().copy("COPY floor FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["int8", "int8", "bytea"])
                for row in rows[at * BATCH : (at + 1) * BATCH]:
                    copy.write_row(row)
            connection.commit()
        floor = time.perf_counter() - began
    return ours, floor


def seal_alone(owner: str, trial: str) -> None:
    """Seal all events of a trial, in this process; its seconds are printed."""
    with tempfile.TemporaryDirectory() as name:
        study, batches = signed_batches(Path(name), places(owner, trial, Path(name) / "keys"), trial)
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.perf_counter()
        for batch in batches:
            study.notary.seal(batch)
        print(time.perf_counter() - began, flush=True)
        study.notary.close()


def trials(owner: str, *names: str) -> float:
    """Events a second of all these trials together, each sealed by a process of its own at the same time."""
    command = [sys.executable, "-m", "tests.benchmarks.postgresql", owner]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen([*command, name], **pipes) for name in names]  # type: ignore[call-overload]
    for process in running:
        assert process.stdout.readline() == "ready\n"
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    seconds = [float(process.stdout.readline()) for process in running]
    for process in running:
        assert process.wait(60) == 0
    return len(names) * EVENTS / max(seconds)


def main() -> None:
    """Measure and print."""
    if missing():
        say(f"not measured: {missing()}")
        return
    table = Table("what", "ours", "its floor", "ratio", "aim")
    with server() as running:
        pairs = {"PostgreSQL": [], "SQLite": []}
        for _ in range(ROUNDS):
            pairs["PostgreSQL"].append(sealing_in_postgresql(running.url))
            pairs["SQLite"].append(sealing())
        for name, measured in pairs.items():
            ours, floor = (statistics.median(pair[at] for pair in measured) for at in (0, 1))
            ratio = statistics.median(one / other for one, other in measured)
            rates = f"{EVENTS / ours:,.0f}/s", f"{EVENTS / floor:,.0f}/s"
            table.add_row(
                f"sealing {EVENTS} events of 1 KB in {name}, batches of {BATCH}", *rates, f"{ratio:.2f}", "1.5"
            )
        out.print(table)
        one = statistics.median(trials(database(running.url, "one"), TRIAL) for _ in range(ROUNDS))
        two = statistics.median(trials(database(running.url, "two"), TRIAL, OTHER) for _ in range(ROUNDS))
        say(f"one trial alone: {one:,.0f} events/s; two trials in one database, together: {two:,.0f} events/s")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        seal_alone(*sys.argv[1:])
    else:
        main()
