"""What is asked of outsiders once a checkpoint is signed: cosignatures, timestamps, a public copy.

Each errand has a thread of its own beside sealing, so that one that is slow or dead holds up neither the others
nor the notary. What goes wrong is written where `trail doctor` finds it. Only evidence that there is another log
under our key stops the notary.
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
import structlog
from sqlalchemy.exc import SQLAlchemyError

from services.audit.authorities import Timestamping, read_authorities
from services.audit.checkpoints import Checkpoints
from services.audit.cosignatures import Cosignatures
from services.audit.log import Log
from services.audit.places import Places
from services.audit.publishing import Publisher
from services.audit.tile_store import store_at
from services.audit.timestamping import Timestamper
from services.audit.timestamps import Timestamps
from services.audit.trouble import Trouble
from services.audit.witnessing import Witnessing
from shared.checkpoint import read_checkpoint
from shared.database import may_pass
from shared.moments import instant, stamp
from shared.note import split_note
from shared.policy import NONE, Policy
from shared.words import EvidenceError, TrailError

EVERY: Final = 1.0
LAST_TRY: Final = 15.0
TROUBLES: Final = "troubles.json"
_log = structlog.get_logger("audit")


@dataclass(frozen=True, slots=True)
class Outsiders:
    """Who is asked: a tlog-policy's witnesses, the authorities of a timestamping.json, a place for tiles."""

    policy: Path | None = None
    timestamping: Path | None = None
    tiles: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the outsiders are, as of now. Sizes in entries, times in POSIX seconds, 0 where there is none yet.

    ``cosigned``: (size, time of the last cosignature) of the largest checkpoint that the policy's quorum has
    cosigned, None where nobody is asked; ``stamped``: (size, time) of each authority's newest timestamp, wanted
    every ``stamping_every`` seconds; ``published``: the size of the checkpoint at the place for tiles, None while
    that is not known; ``troubles``: how many there are, by errand; ``clock_offsets``: seconds that each witness's
    clock was ahead of ours in its last answer.
    """

    cosigned: tuple[int, int] | None
    stamped: Mapping[str, tuple[int, float]]
    stamping_every: float | None
    published: int | None
    troubles: Mapping[str, int]
    clock_offsets: Mapping[str, float]


class Attesting:
    """The errands of one log; ``fatal`` is called, from a thread, with what must stop the notary.

    Raises TrailError when the policy or the authorities cannot be read.
    """

    def __init__(
        self,
        directory: Path,
        places: Places,
        trial: str,
        outsiders: Outsiders,
        *,
        fatal: Callable[[EvidenceError], None],
    ) -> None:
        self._troubles = _Troubles(directory / TROUBLES)
        self._fatal = fatal
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._policy: Policy | None = None
        self._asked: Timestamping | None = None
        self._published: int | None = None
        self._clock_offsets: Mapping[str, float] = {}
        with ExitStack() as held:
            self._log = Log.at(places.log, read_only=True)
            held.callback(self._log.close)
            self._checkpoints = Checkpoints.at(places.checkpoints)
            held.callback(self._checkpoints.close)
            self._reader = Checkpoints.at(
                places.checkpoints, read_only=True
            ).engine  # takes no lock from whoever writes
            held.callback(self._reader.dispose)
            self._client = held.enter_context(httpx.Client())
            self._cosignatures = Cosignatures(self._checkpoints.engine)
            simulated = self._log.register(trial).simulated_now is not None
            self._errands = {
                "witnesses": self._witnesses(outsiders.policy),
                "timestamps": None if simulated else self._timestamps(outsiders.timestamping),
                "tiles": self._tiles(outsiders.tiles, trial),
            }
            self._held = held.pop_all()

    def begin(self) -> None:
        """Ask the witnesses once, before anything is sealed, then go on beside sealing.

        Raises EvidenceError when a witness has seen another log than this one: there is a fork, or was a rollback.
        """
        witnesses = self._errands["witnesses"]
        if witnesses is not None:
            self._do("witnesses", witnesses)
        for name, errand in self._errands.items():
            if errand is not None:
                thread = threading.Thread(target=self._run, args=(name, errand), name=name, daemon=True)
                thread.start()
                self._threads.append(thread)

    def standing(self) -> Standing:
        """How far the outsiders are; from any thread.

        Raises EvidenceError when cosignatures or timestamps cannot be read, SQLAlchemy's errors when their database
        cannot.
        """
        asked = () if self._asked is None else self._asked.asked
        newest = {one.name: Timestamps(self._reader).latest(one.name) for one in asked}
        return Standing(
            cosigned=None if self._policy is None else Cosignatures(self._reader).newest(self._policy),
            stamped={
                name: (0, 0.0) if one is None else (one.size, instant(one.time).timestamp())
                for name, one in newest.items()
            },
            stamping_every=None if self._asked is None else self._asked.every.total_seconds(),
            published=self._published,
            troubles=self._troubles.counts({name for name, errand in self._errands.items() if errand is not None}),
            clock_offsets=dict(self._clock_offsets),
        )

    def end(self) -> None:
        """Do every errand once more, for what was sealed last, as far as that takes no longer than 15 seconds."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(LAST_TRY)
        if not any(thread.is_alive() for thread in self._threads):
            self._held.close()

    def _run(self, name: str, errand: "_Errand") -> None:
        while True:
            last = self._stopping.wait(EVERY)
            try:
                self._do(name, errand)
            except EvidenceError as error:
                self._fatal(error)
                return
            except Exception as error:  # a defect of ours here must not end the errand for good
                self._troubles.put(name, {name: _trouble(f"{type(error).__name__}: {error}")})
            if last:
                return

    def _do(self, name: str, errand: "_Errand") -> None:
        try:
            self._troubles.put(name, errand())
        except EvidenceError as error:
            if not may_pass(error):
                raise
            self._troubles.put(name, {name: _trouble(str(error))})
        except (TrailError, SQLAlchemyError, OSError) as error:
            self._troubles.put(name, {name: _trouble(str(error))})

    def _witnesses(self, path: Path | None) -> "_Errand | None":
        if path is None or not path.exists():
            return None
        policy = Policy.parse(path.read_text("utf-8"))
        witnessing = Witnessing(policy, self._checkpoints, self._cosignatures, self._log.tree, self._client)
        self._policy = None if policy.quorum == NONE else policy
        self._clock_offsets = witnessing.clock_offsets

        def collect() -> Mapping[str, Trouble]:
            witnessing.collect()
            return witnessing.troubles

        return collect

    def _timestamps(self, path: Path | None) -> "_Errand | None":
        if path is None:
            return None
        timestamping = read_authorities(path)
        if not timestamping.asked:
            return None
        self._asked = timestamping
        store = Timestamps(self._checkpoints.engine)
        timestamper = Timestamper(store, timestamping, lambda: datetime.now(UTC), self._client)

        def have_stamped() -> Mapping[str, Trouble]:
            latest = self._checkpoints.latest()
            if latest is not None and timestamper.due(datetime.now(UTC)):
                checkpoint = read_checkpoint(split_note(latest[1])[0])
                timestamper.stamp(checkpoint.text(), checkpoint.size)
            return timestamper.troubles

        return have_stamped

    def _tiles(self, target: str, trial: str) -> "_Errand | None":
        if not target:
            return None

        publisher: Publisher | None = None
        published = ""

        def publish() -> Mapping[str, Trouble]:
            nonlocal publisher, published
            publisher = publisher or Publisher(
                store_at(target),
                self._log,
                self._checkpoints,
                lambda: self._log.register(trial).log_keys(),
                self._cosignatures.note,
            )
            latest = self._checkpoints.latest()
            newest = "" if latest is None else self._cosignatures.note(*latest)
            if newest != published:
                self._published = publisher.publish()
                published = newest
            return {}

        return publish


_Errand = Callable[[], Mapping[str, Trouble]]


class _Troubles:
    """What is wrong outside, by errand, in a file that is written only when that changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Trouble]] = {}
        self._written = "[]"
        self._path.unlink(missing_ok=True)

    def put(self, errand: str, troubles: Mapping[str, Trouble]) -> None:
        with self._lock:
            before = self._known.get(errand, {})
            now = {name: before[name] if _same(before.get(name), one) else one for name, one in troubles.items()}
            self._known[errand] = now
            for name in now.keys() - before.keys():
                _log.warning(
                    "an errand outside fails and is tried again", errand=errand, who=name, error=now[name].what
                )
            self._write()

    def counts(self, errands: Iterable[str]) -> dict[str, int]:
        """How many troubles each of these errands has."""
        with self._lock:
            return {errand: len(self._known.get(errand, ())) for errand in errands}

    def _write(self) -> None:
        told = [
            {"errand": errand, "who": name, "since": stamp(trouble.since), "what": trouble.what}
            for errand, all_ in sorted(self._known.items())
            for name, trouble in sorted(all_.items())
        ]
        text = json.dumps(told, indent=2)
        if text != self._written:
            draft = self._path.with_suffix(".new")
            with suppress(OSError):  # a full disk must not end an errand: written when there is room again
                draft.write_text(text, "utf-8")
                draft.replace(self._path)
                self._written = text


def _same(before: Trouble | None, now: Trouble) -> bool:
    return before is not None and before.what == now.what


def _trouble(what: str) -> Trouble:
    return Trouble(datetime.now(UTC), what)
