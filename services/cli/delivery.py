"""From drafts to receipts: keys, outboxes and couriers for the sources on this machine."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from services.cli.broker_access import remember, renewed
from services.cli.installation import DECIDING, Installation
from shared.broker import Topology, connect
from shared.courier import Courier
from shared.drafts import Draft
from shared.events import Role
from shared.identities import ROOT_SOURCE
from shared.outbox import Outbox, Outcome
from shared.signing import Signer
from shared.words import SourceId

HOLDERS = {
    "site_system": "Site system",
    "investigator": "Investigator",
    "sponsor": "Sponsor",
    "cohort_committee": "Committee member",
}


def holder_of(source: SourceId, role: Role) -> str:
    """The printed name of whoever speaks for a source in a role, where nobody gave one."""
    return f"{HOLDERS.get(role, role)} of {source}"


@dataclass(slots=True)
class Post:
    """The outboxes of one data directory, open.

    ``person`` speaks for a source of their own, with a key that a passphrase has opened.
    """

    home: Installation
    outboxes: dict[SourceId, Outbox] = field(default_factory=dict)
    person: tuple[SourceId, Signer] | None = None
    _keys: dict[str, Signer] = field(default_factory=dict)

    def outbox(self, source: SourceId) -> Outbox:
        """A source's outbox."""
        if source not in self.outboxes:
            self.outboxes[source] = self.home.outbox(source)
        return self.outboxes[source]

    def key(self, source: SourceId, role: Role) -> Signer:
        """A source's key for a role, read once."""
        if self.person is not None and self.person[0] == source:
            return self.person[1]
        name = self.home.key_name(source, role)
        if name not in self._keys:
            self._keys[name] = self.home.key(name)
        return self._keys[name]

    def missing_grants(self, drafts: Sequence[Draft], investigators: Mapping[str, str] = {}) -> list[Draft]:
        """Make the keys that these drafts need and this machine lacks, and draft the root's grants of them.

        ``investigators``: their names by source, where they are known. Raises TrailError, having made none, when
        one of them may not be made here.
        """
        needed = sorted({(SourceId(draft.source), draft.signing_role) for draft in drafts})
        apart = None if self.person is None else self.person[0]
        lacking = [one for one in needed if one[0] != apart and not self.home.has_key(*one)]
        for source, role in lacking:
            self.home.check_may_make(source, role)
        grants = []
        for source, role in lacking:
            holder = holder_of(source, role)
            if role == "investigator":
                holder = investigators.get(source, holder)
            time = min(draft.time for draft in drafts if draft.source == source)
            grants.append(self.home.grant(source, role, holder, time))
        return grants

    def put(self, drafts: Sequence[Draft]) -> dict[SourceId, list[int]]:
        """Encrypt what is personal, number, sign and keep drafts; returns their sequences by source."""
        kept, privacy = {}, self.home.privacy
        for source in sorted({draft.source for draft in drafts}):
            source_id = SourceId(source)
            own = [draft for draft in drafts if draft.source == source]
            kept[source_id] = self.outbox(source_id).put(own, self._key_of(source_id), privacy=privacy)
        return kept

    def outcomes(self, kept: dict[SourceId, list[int]]) -> Iterator[tuple[SourceId, Outcome]]:
        """What became of kept events, of those that are settled."""
        for source, numbers in kept.items():
            for outcome in self.outbox(source).outcomes(numbers):
                yield source, outcome

    def close(self) -> None:
        """Let go of the files."""
        for outbox in self.outboxes.values():
            outbox.close()

    def _key_of(self, source: SourceId) -> Callable[[Role], Signer]:
        return lambda role: self.key(source, role)


class Line:
    """A connection to the broker with one courier a source."""

    def __init__(self, client: Client, post: Post, url: str) -> None:
        self.client = client
        self.post = post
        self._url = url
        self._couriers: dict[SourceId, Courier] = {}
        self._own: list[Client] = []

    @property
    def js(self) -> JetStreamContext:
        """The broker's JetStream."""
        return self.client.jetstream()

    async def courier(self, source: SourceId) -> Courier:
        """The courier of a source, listening."""
        if source not in self._couriers:
            home = self.post.home
            made = Courier(await self._client_of(source), self.post.outbox(source), home.topology, home.log)
            await made.start()
            self._couriers[source] = made
        return self._couriers[source]

    async def deliver(
        self,
        sources: Sequence[SourceId],
        *,
        timeout: float | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> bool:
        """Deliver these sources' outboxes; True when every event has its receipt.

        ``progress`` is told how many events still wait, over all of them.
        """
        waiting = dict.fromkeys(sources, 0)

        def told(source: SourceId) -> Callable[[int], None]:
            def tell(count: int) -> None:
                waiting[source] = count
                if progress is not None:
                    progress(sum(waiting.values()))

            return tell

        couriers = [(source, await self.courier(source)) for source in sources]
        done = await asyncio.gather(
            *(one.deliver(timeout=timeout, progress=told(source)) for source, one in couriers)
        )
        return all(done)

    async def stop(self) -> None:
        """Stop listening."""
        for courier in self._couriers.values():
            await courier.stop()
        for client in self._own:
            await client.close()

    async def _client_of(self, source: SourceId) -> Client:
        """A connection that may publish for a source: one of its own where the broker tells its users apart."""
        home = self.post.home
        if not home.is_guarded:
            return self.client
        # Whoever signs, one connection carries a source's outbox; its system's where it has one.
        roles: tuple[Role, ...] = ("root",) if source == ROOT_SOURCE else ("site_system", "investigator")
        names = [home.key_name(source, role) for role in roles]
        name = next((one for one in names if home.broker_key_path(one).exists()), names[0])
        client = await connect(self._url, f"trail for {source}", home.credentials(name))
        self._own.append(client)
        return client


@asynccontextmanager
async def line(home: Installation, url: str) -> AsyncIterator[Line]:
    """Open the outboxes and a connection; the root's own statements are delivered first.

    Where the broker tells its users apart, it is the notary's: whoever has these outboxes has the log as well. What
    the root says may grant or revoke, so the embedded broker is brought up to the log before others speak.
    """
    client = await connect(url, "trail", home.credentials("log"))
    post = Post(home)
    made = Line(client, post, url)
    try:
        await made.deliver([ROOT_SOURCE], timeout=30)
        if (word := await asyncio.to_thread(renewed, home)) is not None:
            post.put([word])
            remember(home, word)
            await made.deliver([ROOT_SOURCE], timeout=30)
        yield made
    finally:
        await made.stop()
        post.close()
        await client.close()


async def settled(js: JetStreamContext, topology: Topology, timeout: float = 120) -> bool:
    """Wait until everything posted is sealed and everything sealed is decided on; False on timeout."""
    quiet, deadline = 0, asyncio.get_running_loop().time() + timeout
    before = -1
    while asyncio.get_running_loop().time() < deadline:
        try:
            intake = await js.consumer_info(topology.intake, "notary")
            deciding = [await js.consumer_info(topology.log, name) for name in DECIDING]
            last = (await js.stream_info(topology.intake)).state.last_seq
        except (NatsError, TimeoutError):
            await asyncio.sleep(0.2)
            continue
        open_ones = sum((one.num_pending or 0) + (one.num_ack_pending or 0) for one in (intake, *deciding))
        quiet = quiet + 1 if open_ones == 0 and last == before else 0
        before = last
        if quiet >= 2:
            return True
        await asyncio.sleep(0.03)
    return False
