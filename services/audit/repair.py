"""`trail fsck --repair-tiles`: make again what is derived from the entries, and never the other way round."""

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from services.audit.checkpoints import Checkpoints
from services.audit.cosignatures import Cosignatures
from services.audit.findings import Findings, Kind
from services.audit.fsck import Examination
from services.audit.heads import Heads, checkpoints, reach
from services.audit.log import Log
from services.audit.log_tables import SUBTREES
from services.audit.places import Places
from services.audit.publishing import Publisher
from services.audit.tile_store import TileStore
from shared.database import Place, sqlite
from shared.note import LogKey
from shared.words import EvidenceError, TrailError

_IN_THE_WAY: Final = {
    Kind.DATABASE,
    Kind.ENTRY_MISSING,
    Kind.ENTRY_CHANGED,
    Kind.ENTRY_STRAY,
    Kind.CHECKPOINT_MISSING,
}


def repair(places: Places, trial: str, keys: LogKey, store: TileStore) -> list[str]:
    """Make the stored subtrees and the published files of a log again; returns the published paths that changed.

    Raises TrailError when a notary is at work there, and EvidenceError, having changed nothing, when the entries
    are not those under the last signed checkpoint.
    """
    with ExitStack() as held:
        held.callback(places.lease().close)
        signed = held.enter_context(closing(Checkpoints.at(places.checkpoints, read_only=True)))
        _refuse_what_is_not_signed(places.log, trial, keys, signed)
        _make_subtrees_again(places.log)
        log = held.enter_context(closing(Log.at(places.log, read_only=True)))
        return Publisher(store, log, signed, lambda: keys, Cosignatures(signed.engine).note).rebuild()


def _refuse_what_is_not_signed(place: Place, trial: str, keys: LogKey, signed: Checkpoints) -> None:
    findings, heads = Findings(), Heads()
    with closing(Log.at(place, read_only=True)) as log:
        every = signed.all()
        size, last = log.size(), max((size for _, size, _ in every), default=0)
        checkpoints(every, keys, heads, findings)
        reach(size, last, log.register(trial).signed, findings)
        examination = Examination(log, size, heads, findings)
        examination.run()
    if not last or examination.agreed != last or findings.counts.keys() & _IN_THE_WAY:
        raise EvidenceError(
            "nothing was made again: the entries are not proven to be those that were signed, and what is made of "
            "them would be wrong. What `trail fsck` names besides must be put right first"
        )


def _make_subtrees_again(place: Place) -> None:
    if not isinstance(place, Path):
        # A writer of the log may only add. A damaged row is its owner's to take away.
        raise TrailError(
            f"the stored subtrees are in the {place}, where the notary's role only adds: have the owner disable "
            "the triggers of subtrees, truncate it, and enable them; the notary makes them again when it starts"
        )
    engine = sqlite(place)
    with engine.begin() as connection:
        SUBTREES.drop(connection, checkfirst=True)
        SUBTREES.create(connection)  # empty, with what keeps it append-only
    engine.dispose()
    # If we die before this, the notary's next start does the same.
    Log.at(place).close()
