"""The LOG stream: a gapless mirror of the database, topped up from it whenever it lags."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from nats.aio.client import Client

from services.audit.checkpoints import Checkpoints
from services.audit.log import Log
from shared.broker import BATCH, CHECKPOINT_HEADER, BrokerError, Topology, encode_note, publish_batch
from shared.entry import Entry
from shared.tracing import TRACEPARENT
from shared.words import EvidenceError


class Mirror:
    """Publishes sealed entries to LOG, each at stream sequence index + 1.

    Only what a signed checkpoint covers is published; the note travels with the last entry it covers, so
    that a reader acts on nothing that it cannot check against the log's key.
    """

    def __init__(self, client: Client, topology: Topology, log: Log, checkpoints: Checkpoints) -> None:
        self._client = client
        self._topology = topology
        self._log = log
        self._checkpoints = checkpoints
        self._published: int | None = None  # None: ask the broker

    async def publish(self, entries: Sequence[Entry], note: str, traceparents: Mapping[int, str] = {}) -> None:
        """Publish a batch just sealed, and before it whatever LOG lacks; ``traceparents`` are by entry index."""
        # A batch of repeats alone may follow on one whose publishing failed.
        following = entries[0].index if entries else self._log.size()
        if self._published != following:
            await self.catch_up()
            return
        if not entries:
            return
        try:
            for at in range(0, len(entries), BATCH):  # the broker takes at most 1,000 at once
                part = entries[at : at + BATCH]
                await self._send(part, note if at + BATCH >= len(entries) else "", traceparents)
        except BrokerError:
            # Somebody else's message stands where ours belongs, or an earlier try had arrived after all.
            await self.catch_up()

    async def catch_up(self) -> None:
        """Make LOG equal to the signed part of the database.

        Raises EvidenceError when LOG holds what the database does not.
        """
        info = await self._client.jetstream().stream_info(self._topology.log)
        published = info.state.last_seq
        await self._compare(published)
        self._published = published
        notes = {size: note for _, size, note in self._checkpoints.all(after=published)}
        sizes = sorted(notes)
        while sizes and self._published < sizes[-1]:
            # As many entries at once as the broker takes, up to the last checkpoint among them: a log of single
            # entries, each with a checkpoint of its own, is not rebuilt one by one.
            start = self._published
            last = bisect_right(sizes, start + BATCH) - 1
            stop = sizes[last] if last >= 0 and sizes[last] > start else start + BATCH
            if start == 0:  # by itself: a reader follows a rotation of the key only from a checkpoint before it
                stop = min(stop, sizes[0])
            await self._send(list(self._log.entries(start, stop)), notes.get(stop, ""))

    async def _compare(self, published: int) -> None:
        size = self._log.size()
        if published > size:
            raise EvidenceError(
                f"LOG holds {published} entries and the database {size}: the database was restored from a back-up. "
                "Put back the newest one; going on would fork the log"
            )
        if published:
            last = await self._client.jetstream().get_msg(self._topology.log, published)
            if last.data != self._log.entry(published - 1).raw:
                raise EvidenceError(
                    f"LOG's message {published} is not entry {published - 1} of the database: somebody else has "
                    "written to the broker. Stop everything and move the broker's files away; LOG is then rebuilt "
                    "from the database, and sources send again whatever was not sealed"
                )

    async def _send(self, entries: Sequence[Entry], note: str, traceparents: Mapping[int, str] = {}) -> None:
        messages = [
            (self._topology.log_subject(entry.header.subject), entry.raw, dict[str, str]()) for entry in entries
        ]
        first = entries[0].index
        messages[0][2]["Nats-Expected-Last-Sequence"] = str(first)
        for entry, (_, _, headers) in zip(entries if traceparents else (), messages, strict=False):
            if entry.index in traceparents:
                headers[TRACEPARENT] = traceparents[entry.index]
        if note:
            messages[-1][2][CHECKPOINT_HEADER] = encode_note(note)
        self._published = None
        await publish_batch(self._client, messages, f"entries-{first}")
        self._published = first + len(entries)
