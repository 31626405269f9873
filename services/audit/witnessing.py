"""Collecting cosignatures: the notary's side of c2sp.org/tlog-witness.

A witness that is away or wrong never holds up sealing. One that has seen another log under our key does: then
a back-up was restored or a second notary is at work, and every further entry would be part of a fork.
"""

import base64
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import httpx

from services.audit.anchors import TOLERANCE
from services.audit.checkpoints import Checkpoints
from services.audit.cosignatures import Cosignatures
from services.audit.trouble import Trouble
from shared.checkpoint import open_cosignature, read_checkpoint
from shared.merkle import Tree
from shared.note import split_note
from shared.policy import Policy, Witness
from shared.words import EvidenceError, TrailError

_TIMEOUT: Final = httpx.Timeout(5, connect=3)
_PATIENCE: Final = 10.0  # seconds over an answer's body: the timeout begins anew with every byte
_MOST_BYTES: Final = 64 * 1024
_LONGEST_PAUSE: Final = 60.0
_CLOCKS_APART: Final = TOLERANCE.total_seconds() * 0.8  # stricter than verification: an answer takes time as well
_SIZE: Final = re.compile(r"(0|[1-9][0-9]{0,17})\n?")


@dataclass(slots=True)
class _Standing:
    """How far a witness has come: what it last cosigned, and whether that was for us and since our start."""

    size: int
    for_us: bool = False
    failures: int = 0
    not_before: float = 0.0


class Witnessing:
    """Has the newest checkpoint cosigned by every witness of a policy that has a URL.

    ``tree_of(size)`` gives the log's tree; ``clock`` tells aware time, ``monotonic`` seconds. :meth:`collect` is
    for one caller at a time, in a thread; ``troubles`` (by the witness's name in the policy; empty when all is
    well) and ``clock_offsets`` (by the same name: seconds that its clock was last ahead of ours) may be read from
    anywhere.
    """

    def __init__(
        self,
        policy: Policy,
        checkpoints: Checkpoints,
        cosignatures: Cosignatures,
        tree_of: Callable[[int], Tree],
        client: httpx.Client,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.troubles: dict[str, Trouble] = {}
        self.clock_offsets: dict[str, float] = {}
        self._policy = policy
        self._asked = [one for one in policy.witnesses.values() if one.url]
        self._checkpoints = checkpoints
        self._cosignatures = cosignatures
        self._tree_of = tree_of
        self._client = client
        self._clock = clock
        self._monotonic = monotonic
        self._standing = {one.name: _Standing(cosignatures.last(one.key)) for one in self._asked}

    def collect(self) -> None:
        """Ask every witness that has not cosigned the newest checkpoint and is not on a pause after a failure.

        The first call asks each of them, whatever is kept: after a restart they remember what we may not. They
        are asked side by side, so it takes as long as the slowest, at most some 20 s. What goes wrong with a
        witness is remembered in ``troubles``. Raises EvidenceError when one has seen another log than this, and
        when the database is not what was signed: nothing more may be sealed then. Raises SQLAlchemy's errors
        when a database cannot be used.
        """
        newest = self._checkpoints.latest()
        if newest is None:
            return
        due = [one for one in self._asked if self._is_due(one, newest[0])]
        if due:
            with ThreadPoolExecutor(len(due)) as pool:
                for done in [pool.submit(self._have_cosigned, one, *newest) for one in due]:
                    done.result()

    def _is_due(self, witness: Witness, size: int) -> bool:
        standing = self._standing[witness.name]
        return (not standing.for_us or standing.size != size) and self._monotonic() >= standing.not_before

    def _have_cosigned(self, witness: Witness, size: int, note: str) -> None:
        standing = self._standing[witness.name]
        try:
            self._standing[witness.name] = self._ask(witness, standing.size, size, note)
        except _ForkError as error:
            # The answer is unsigned: it stops the notary only where the policy's quorum trusts this witness.
            if self._policy.counts(witness.name):
                raise
            self._troubled(witness, standing, str(error))
        except EvidenceError:
            raise
        except TrailError as error:
            self._troubled(witness, standing, f"the witness {witness.name} ({witness.url}) {error}")
        else:
            self.troubles.pop(witness.name, None)

    def _troubled(self, witness: Witness, standing: _Standing, what: str) -> None:
        standing.failures += 1
        standing.not_before = self._monotonic() + pause(standing.failures)
        known = self.troubles.get(witness.name)
        self.troubles[witness.name] = Trouble(self._clock() if known is None else known.since, what)

    def _ask(self, witness: Witness, old: int, size: int, note: str) -> _Standing:
        """Submit a checkpoint, and keep the cosignature; where the witness stands now.

        Raises TrailError with half a sentence for what may pass, EvidenceError for what may not.
        """
        if old > size:  # kept cosignatures are proof enough
            raise self._ahead(witness, old, size)
        tree = self._tree_of(size)
        if tree.root() != read_checkpoint(split_note(note)[0]).root:
            raise EvidenceError(
                f"the stored tree of {size} entries is not the one that was signed; `trail fsck` says what was "
                "changed"
            )
        for _ in range(3):  # one more than it takes: somebody else may submit our checkpoints too
            status, text = self._post(witness, submission(old, tree.consistency(old), note))
            if status == httpx.codes.OK:
                self._keep(witness, size, note, text)
                return _Standing(size, for_us=True)
            if status == httpx.codes.UNPROCESSABLE_ENTITY and old:
                raise _forked(witness, f"has cosigned {old} entries that are not the beginning of this log")
            if status != httpx.codes.CONFLICT:
                raise TrailError(_refusal(status))
            seen = _SIZE.fullmatch(text)
            if seen is None:
                raise TrailError("answers with a conflict and does not say what it has cosigned")
            if int(seen[1]) == old == size:
                raise _forked(witness, f"has cosigned other {size} entries of this log than this notary signed")
            if int(seen[1]) > size:
                latest = self._checkpoints.latest()
                if latest is None or int(seen[1]) > latest[0]:
                    raise self._ahead(witness, int(seen[1]), size)
                return _Standing(int(seen[1]))  # we have sealed on, and somebody else was quicker to submit it
            old = int(seen[1])
        raise TrailError("says again and again that it has cosigned something else")

    def _post(self, witness: Witness, body: bytes) -> tuple[int, str]:
        """Status and text of the answer; TrailError with half a sentence when there is none."""
        url = witness.url.rstrip("/") + "/add-checkpoint"
        deadline = self._monotonic() + _PATIENCE
        try:
            with self._client.stream("POST", url, content=body, timeout=_TIMEOUT) as response:
                answer = b""
                for chunk in response.iter_raw():
                    answer += chunk
                    if len(answer) > _MOST_BYTES or self._monotonic() > deadline:
                        raise TrailError("sends an answer without end")
                return response.status_code, answer.decode(errors="replace")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TrailError(f"cannot be asked: {error or type(error).__name__}") from None

    def _keep(self, witness: Witness, size: int, note: str, lines: str) -> None:
        try:
            cosignature = open_cosignature(note + lines, witness.key)
        except EvidenceError as error:
            raise TrailError(f"sends an answer that does not hold: {error}") from None
        if cosignature is None:
            raise TrailError("does not sign with the key that the policy has for it")
        now = self._clock().timestamp()
        self.clock_offsets[witness.name] = cosignature.time - now
        if abs(cosignature.time - now) > _CLOCKS_APART:
            raise TrailError(
                f"tells a time that is {abs(cosignature.time - now):.0f} s off this machine's, so its "
                "cosignature was not taken: set the clock that is wrong"
            )
        self._cosignatures.add(size, witness.key, cosignature.time, cosignature.line_on(note + lines))

    def _ahead(self, witness: Witness, seen: int, size: int) -> "_ForkError":
        return _forked(witness, f"has cosigned {seen} entries of this log, and this notary has signed {size}")


def pause(failures: int) -> float:
    """Seconds to leave a witness alone after so many failures in a row: 1, 2, 4 and so on up to a minute."""
    return min(2.0 ** min(failures - 1, 10), _LONGEST_PAUSE)


def submission(old: int, proof: Sequence[bytes], note: str) -> bytes:
    """The body of an add-checkpoint request."""
    hashes = "".join(base64.b64encode(one).decode() + "\n" for one in proof)
    return f"old {old}\n{hashes}\n{note}".encode()


def _refusal(status: int) -> str:
    match status:
        case httpx.codes.NOT_FOUND:
            return "does not know this log (HTTP status 404): have its operator add the log's key"
        case httpx.codes.FORBIDDEN:
            return "does not trust the key that signs this log (HTTP status 403): have its operator add it"
        case _:
            return f"answers with HTTP status {status}"


class _ForkError(EvidenceError):
    """A witness says that it has seen another log under our key."""


def _forked(witness: Witness, what: str) -> _ForkError:
    return _ForkError(
        f"the witness {witness.name} ({witness.url}) {what}: a back-up was restored, or another notary writes this "
        "log. Stop every notary of this log and put back the newest database and checkpoints. Only if its operator "
        "says that the witness itself is wrong, take it out of the policy"
    )
