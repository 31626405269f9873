"""Runs the synthetic study through the real stack: people post and sign, the notary seals, the services decide."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from services.audit.log import Log
from services.cli.delivery import Line, holder_of, settled
from services.cli.installation import Installation, user_of
from services.cli.study import (
    INVESTIGATORS,
    Act,
    Day,
    DecideCohort,
    Post,
    PostBroken,
    RequestEnrolment,
    SignEligibility,
)
from services.cli.study_safety import COMMITTEE_MEMBERS
from shared.broker import KEY_HEADER, SIGNATURE_HEADER
from shared.decider import read_event
from shared.drafts import Draft
from shared.entry import Entry
from shared.envelope import CONTENT_TYPE
from shared.events.decisions import Decided
from shared.events.safety import CohortDecided
from shared.events.safety_decisions import CohortRecommended
from shared.identities import ROOT_SOURCE
from shared.moments import stamp
from shared.outbox import uuid7
from shared.signing import SigningKey
from shared.words import SourceId, TrailError

_TIMEOUT = 60.0


@dataclass(slots=True)
class Player:
    """Plays a study day by day, as its sites, its investigators, its sponsor and its root.

    ``missed`` lists what the script asked for and the study did not allow, such as a signature on a decision
    that is not eligible.
    """

    home: Installation
    line: Line
    log: Log
    missed: list[str] = field(default_factory=list)
    _decisions: dict[str, tuple[Entry, Decided]] = field(default_factory=dict)
    _recommended: Entry | None = None
    _cohort_decided: Entry | None = None
    _read: int = 0

    async def play(self, days: list[Day], progress: Callable[[int], None]) -> None:
        """Play the study to its end."""
        await self._grant(days)
        for number, day in enumerate(days, 1):
            if number > 1:
                await self._move_clock(stamp(days[number - 2].at), stamp(day.at))
            for _, acts in groupby(day.acts, key=_together):
                await self._act(list(acts), stamp(day.at))
            progress(number)
        await self._wait()

    async def _grant(self, days: list[Day]) -> None:
        """Give everybody who speaks in the script a key, before the first of them speaks."""
        spoken = (act for day in days for act in day.acts if isinstance(act, Post | PostBroken | DecideCohort))
        drafts = [act.draft for act in spoken]
        signers = [
            Draft(source=f"site/{site}", type="screening.judged", time=stamp(days[0].at), data={})
            for site in INVESTIGATORS
        ]
        signers += [
            Draft(source=source, type="safety.cohort_decided", time=stamp(days[0].at), data={})
            for source in COMMITTEE_MEMBERS
        ]
        started = stamp(days[0].at)
        names = {f"site/{site}": name for site, name in INVESTIGATORS.items()}
        grants = [
            draft.model_copy(update={"time": started})
            for draft in self.line.post.missing_grants(drafts + signers, names)
        ]
        self.line.post.put(grants)
        await self._deliver([ROOT_SOURCE])

    async def _move_clock(self, now: str, to: str) -> None:
        """Let the time until the next day pass, with its ticks."""
        self.line.post.put([Draft(source=ROOT_SOURCE, type="log.clock_moved", time=now, data={"to": to})])
        await self._deliver([ROOT_SOURCE])

    async def _act(self, acts: Sequence[Act], now: str) -> None:
        posts = [act.draft for act in acts if isinstance(act, Post)]
        if posts:
            await self._post(posts)
            return
        # What follows depends on decisions that the day's posts have led to.
        await self._wait()
        for act in acts:
            match act:
                case PostBroken():
                    await self._break(act)
                case SignEligibility():
                    await self._sign(act, now)
                case RequestEnrolment():
                    draft = Draft(
                        source=f"site/{act.site}",
                        type="screening.enrolment_requested",
                        subject=act.participant,
                        time=now,
                        data={"dose_level": act.dose_level},
                    )
                    await self._post([draft])
                    await self._wait()
                case DecideCohort():
                    await self._decide_cohort(act, now)

    async def _decide_cohort(self, act: DecideCohort, now: str) -> None:
        seen = self._recommended
        if seen is None:
            self.missed.append("the cohort committee had no recommendation before it")
            return
        draft = act.decided(seen.index, seen.leaf.hex())
        await self._post([draft])
        await self._wait()
        decided = self._cohort_decided
        assert decided is not None  # it was just sealed
        for source in COMMITTEE_MEMBERS:
            holder = holder_of(SourceId(source), "cohort_committee")
            await self._post([act.signed(source, holder, decided.index, decided.leaf.hex(), now)])
        await self._wait()

    async def _sign(self, act: SignEligibility, now: str) -> None:
        entry, decision = self._decisions.get(act.participant, (None, None))
        if entry is None or decision is None or decision.standing != "eligible":
            standing = "not decided" if decision is None else decision.standing
            self.missed.append(f"{act.participant}: nothing to sign, {standing}")
            return
        draft = Draft(
            source=f"site/{act.site}",
            type="record.signed",
            subject=act.participant,
            time=now,
            data={
                "meaning": "eligibility",
                "name": INVESTIGATORS[act.site],
                "user": user_of(SourceId(f"site/{act.site}"), "investigator"),
                "role": "investigator",
                "records": [{"index": entry.index, "leaf": entry.leaf.hex()}],
            },
        )
        await self._post([draft])

    async def _break(self, act: PostBroken) -> None:
        """Post something that must be refused; only what its own source signed takes a number of its sequence."""
        source = SourceId(act.draft.source)
        outbox = self.line.post.outbox(source)
        key = self.line.post.key(source, act.draft.signing_role)
        if act.damage == "none":
            outbox.put([act.draft], lambda _role: key, checked=False)
            await self._deliver([source])
            return
        payload = act.draft.payload(self.home.trial, uuid7(), outbox.next_sequence())
        if act.damage == "stray_key":
            key = SigningKey.from_seed(hashlib.sha256(b"nobody has granted this key").digest())
        signature = key.sign_event(payload)
        if act.damage == "tampered":
            payload = payload.replace(b'"value":', b'"value":1', 1)
        if act.damage == "cut_off":
            payload = payload[: len(payload) // 2]
        subject = self.home.topology.intake_subject(
            source, act.draft.event_type.name.split(".", 1)[1].rpartition(".v")[0]
        )
        headers = {"Content-Type": CONTENT_TYPE, KEY_HEADER: key.id, SIGNATURE_HEADER: signature}
        await self.line.js.publish(subject, payload, stream=self.home.topology.intake, headers=headers)

    async def _post(self, drafts: list[Draft]) -> None:
        kept = self.line.post.put(drafts)
        await self._deliver(list(kept))
        for source, outcome in self.line.post.outcomes(kept):
            if outcome.verdict == "refused":
                self.missed.append(f"{source} event {outcome.sequence} was refused: {outcome.reason}")

    async def _deliver(self, sources: list[SourceId]) -> None:
        if not await self.line.deliver(sources, timeout=_TIMEOUT):
            raise TrailError(
                f"no receipt came within {_TIMEOUT:.0f} s; see the logs in {self.home.directory / 'run'}"
            )

    async def _wait(self) -> None:
        """Wait for decisions, and read them."""
        if not await settled(self.line.js, self.home.topology, _TIMEOUT):
            raise TrailError(f"the services did not come to rest; see the logs in {self.home.directory / 'run'}")
        size = self.log.size()
        for entry in self.log.entries(self._read, size):
            event = read_event(entry)
            if event is None:
                continue
            if isinstance(event.data, Decided) and event.envelope.subject is not None:
                self._decisions[event.envelope.subject] = (entry, event.data)
            if isinstance(event.data, CohortRecommended):
                self._recommended = entry
            if isinstance(event.data, CohortDecided):
                self._cohort_decided = entry
        self._read = size


def _together(act: Act) -> tuple[type, bool]:
    """What may be done at once: posts of the sites, and then those of the sponsor, which may speak of them."""
    return type(act), isinstance(act, Post) and act.draft.source.startswith("sponsor/")
