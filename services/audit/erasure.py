"""What it takes to erase: an order, two persons' signatures over it, a key destroyed. Pure; part of admission.

The participant's key lies outside the log, so nobody can prove from the log that it is gone. What the log does hold
is that two persons answered for it and who says that it was done.
"""

from dataclasses import replace

from services.audit.register import Erasure, Register, Statement
from shared.envelope import Envelope
from shared.events import Data, SiteData
from shared.events.authority import authority
from shared.events.signatures import Erased, ErasureOrdered, PersonSigned
from shared.words import LogIndex, RefusedError


def take_erasure(register: Register, envelope: Envelope, data: Data, index: LogIndex) -> None:
    """Let an admitted event change what is known of orders to erase.

    Raises RefusedError when it says that a key was destroyed which nobody has rightly ordered to be.
    """
    said = (str(envelope.source), envelope.id)
    match data:
        case ErasureOrdered() if envelope.subject is not None:
            _take_back(register, (str(envelope.source), data.corrects or ""))
            register.keep_erasure(index, Erasure(envelope.subject, said))
        case PersonSigned() if data.meaning == "erasure":
            for record in data.records:
                order = register.erasures.get(LogIndex(record.index))
                if order is not None:
                    signed = (*order.signed_by, (data.user, said))
                    register.keep_erasure(LogIndex(record.index), replace(order, signed_by=signed))
        case Erased():
            order = _carried_out(register, envelope, data)
            register.keep_erasure(LogIndex(data.ordered), replace(order, keys=(*order.keys, (data.key, index))))
        case SiteData() if data.corrects is not None:
            _take_back(register, (str(envelope.source), data.corrects))
        case _:
            pass


def persons_needed() -> int:
    """How many persons must sign an order before a key is destroyed."""
    return authority().signatures["erasure"].persons


def _carried_out(register: Register, envelope: Envelope, data: Erased) -> Erasure:
    order = register.erasures.get(LogIndex(data.ordered))
    if order is None:
        raise RefusedError(f"data.ordered: entry {data.ordered} is no admitted privacy.erasure_ordered")
    if order.participant != envelope.subject:
        raise RefusedError(f"data.ordered: entry {data.ordered} is about another participant")
    if order.withdrawn:
        raise RefusedError(f"data.ordered: the order of entry {data.ordered} was taken back")
    if len(order.signers) < persons_needed():
        raise RefusedError(
            f"data.ordered: the order of entry {data.ordered} is signed by {len(order.signers)} of "
            f"{persons_needed()} persons: a signature with the meaning erasure is missing"
        )
    return order


def _take_back(register: Register, said: Statement) -> None:
    """Let what a source takes back or corrects count no longer; a key that is destroyed stays so."""
    for index, order in sorted(register.erasures.items()):
        if order.said == said:
            register.keep_erasure(index, replace(order, withdrawn=True))
        elif any(one == said for _, one in order.signed_by):
            left = tuple(one for one in order.signed_by if one[1] != said)
            register.keep_erasure(index, replace(order, signed_by=left))
