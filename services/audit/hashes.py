"""Verification of the hashes alone: every leaf hash, every link, the tree, and the root under each checkpoint.

Recomputed from the stored bytes on all cores, in bounded memory, and able to go on from where it was before, so
that checking again costs only what is new. It is what `trail verify --hashes-only` and `trail fsck` rest on.

Not checked: signatures (of the sources; of the log, as the caller opens the checkpoints), rulings, sequences,
times, and what a header says beside the link. :mod:`services.audit.verify` checks all of that.
"""

import os
import pickle
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen
from tempfile import TemporaryFile
from typing import IO, Final

from services.audit.runs import RUN, Database, Hashed, Run, UnreadableError, Where, hash_run, linked
from services.audit.verify import Fault
from shared.database import Place
from shared.entry import NO_LEAF
from shared.merkle import Frontier, node_hash
from shared.words import LeafHash, TrailError

_RUNS_BY_ITSELF: Final = 8
"""Up to so many runs this process hashes alone: starting others would take longer."""


@dataclass(frozen=True, slots=True)
class VerifiedTo:
    """The tree and the last leaf hash of what was verified; a later verification goes on from here."""

    tree: Frontier = field(default_factory=Frontier)
    leaf: LeafHash = NO_LEAF


@dataclass(frozen=True, slots=True)
class HashReport:
    """What was found. Without a ``fault``, ``verified`` is the whole log, and every root is the signed one.

    With one, ``verified`` ends somewhere before it.
    """

    verified: VerifiedTo
    fault: Fault | None


def verify_hashes(
    place: Place,
    roots: Mapping[int, bytes],
    *,
    since: VerifiedTo | None = None,
    stop: int | None = None,
    processes: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> HashReport:
    """Verify a log's entries behind ``since`` (None: from the first one) to before ``stop`` (None: to the last).

    ``roots`` holds the signed root by tree size, for all signed checkpoints;
    those below ``since`` were compared before. ``processes`` is the number of cores unless said otherwise.
    ``progress`` is told how many entries are verified. Raises TrailError when a process is killed.
    """
    where = _where(place)
    course = _Course(where, roots, since or VerifiedTo())
    try:
        end = _size(where) if stop is None else stop
        for run, hashed in _hashed(course.runs(end), processes or os.cpu_count() or 1):
            course.join(run, hashed)
            if course.fault is not None:
                break
            if progress is not None:
                progress(course.to.tree.size)
        course.finish(end)
    except UnreadableError as error:
        course.note(course.to.tree.size, f"the database cannot be read: {error}")
    return HashReport(course.to, course.fault)


class _Course:
    """Joins what runs come to, from the first on, and compares it with what was signed."""

    def __init__(self, where: Where, roots: Mapping[int, bytes], since: VerifiedTo) -> None:
        self.to = since
        self.fault: Fault | None = None
        self._where = where
        self._roots = roots
        self._sizes = sorted(roots)
        size = since.tree.size
        if size and roots.get(size, since.tree.root()) != since.tree.root():
            self.note(size - 1, f"the checkpoint over {size} entries signed others than were verified before")

    def note(self, index: int, what: str) -> None:
        """Keep the first fault."""
        if self.fault is None:
            self.fault = Fault(index, what)

    def runs(self, end: int) -> list[Run]:
        """The runs from here to before ``end``, each short enough to be a subtree where it begins."""
        runs: list[Run] = []
        start, leaf = self.to.tree.size, self.to.leaf
        while start < end and self.fault is None:
            stop = min(start + min(start & -start or RUN, RUN), end)
            heads = self._sizes[bisect_right(self._sizes, start) : bisect_right(self._sizes, stop)]
            runs.append(Run(self._where, start, stop, None if runs else leaf, heads))
            start = stop
        return runs

    def join(self, run: Run, hashed: Hashed) -> None:
        """Compare the roots that were signed within a run, and hang it into the tree."""
        peaks = list(self.to.tree.peaks)
        for head, edge in zip(run.heads, hashed.edges, strict=False):  # a fault leaves later heads without
            root = edge
            for peak in reversed(peaks):
                root = node_hash(peak, root)
            if root != self._roots[head]:
                self.note(*self._otherwise_signed(head))
        if hashed.fault is not None:
            self.note(*hashed.fault)
        if self.fault is not None:
            return
        span, (node, *smaller) = run.stop - run.start, hashed.tree.peaks
        while run.start & span:  # a whole subtree completes the one on its left, and that one perhaps another
            node = node_hash(peaks.pop(), node)
            span <<= 1
        self.to = VerifiedTo(Frontier(run.stop, (*peaks, node, *smaller)), LeafHash(hashed.leaf))

    def finish(self, end: int) -> None:
        """Compare where the log ends with what was signed, and with what was verified before."""
        size, signed = self.to.tree.size, max(self._sizes, default=0)
        if size > end:
            self.note(end, f"entry {end} is missing: {size} entries were verified before")
        elif size == 0:
            self.note(0, "the log is empty")
        elif signed > size:
            self.note(size, f"entry {size} is missing: a checkpoint over {signed} entries was signed")
        elif signed < size:
            self.note(signed, f"entries {signed} to {size - 1} are not covered by a signed checkpoint")

    def _otherwise_signed(self, head: int) -> tuple[int, str]:
        last = head - 1
        before = max((size for size in self._sizes if size < head), default=0)
        if linked(self._where, head):
            what = f"entries {before} to {last} are not those that the checkpoint over {head} signed"
            return before, f"{what}: they were rewritten together"
        return last, (
            f"the checkpoint over {head} entries signed another entry {last} "
            f"(or, if links were recomputed, another one since {before})"
        )


def _hashed(runs: Sequence[Run], processes: int) -> Iterator[tuple[Run, Hashed]]:
    """Each run and what it came to, in their order."""
    if processes == 1 or len(runs) <= _RUNS_BY_ITSELF:
        yield from zip(runs, map(hash_run, runs), strict=True)
        return
    with ExitStack() as started:
        workers = [started.enter_context(_worker(runs[at::processes])) for at in range(processes)]
        for at, run in enumerate(runs):
            try:
                yield run, pickle.load(workers[at % processes])  # noqa: S301 - from a process of our own
            except EOFError:
                raise TrailError(
                    "a process that was hashing entries was ended, perhaps for want of memory; verify again"
                ) from None


@contextmanager
def _worker(runs: Sequence[Run]) -> Iterator[IO[bytes]]:
    """What a process of its own makes of runs.

    Not one of multiprocessing's, which would first import again whatever program this is: a second and more.
    """
    with TemporaryFile() as work:
        pickle.dump(runs, work)
        work.seek(0)
        command = [sys.executable, "-P", "-c", "from services.audit.runs import serve; serve()"]
        places = [str(Path(place).absolute()) for place in sys.path]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
        with Popen(command, stdin=work, stdout=PIPE, env=environment) as process:
            assert process.stdout is not None
            try:
                yield process.stdout
            finally:
                process.kill()


def _where(place: Place) -> Where:
    """A place as the processes know it, who do without SQLAlchemy."""
    if isinstance(place, Path):
        return place
    return place.arguments, place.name


def _size(where: Where) -> int:
    with closing(Database(where)) as database:
        (highest,) = next(database.rows("SELECT max(idx) FROM entries"))
    return 0 if highest is None else int(highest) + 1
