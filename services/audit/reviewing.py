"""What a review of the audit trail and a query to a site must be to be admitted. Pure; part of admission.

A query has a name of its own for good, belongs to one site, is answered by that site as often as need be, and is
closed by a monitor (21 CFR 11.10(e); ICH E6(R3) 4.2.3).
"""

from services.audit.register import Register, ReviewQuery
from services.audit.rights import check_scope, site_of
from services.audit.signature_rules import Records, named_entries
from shared.envelope import Envelope, read_envelope
from shared.events.signatures import ReviewQueryAnswered, ReviewQueryClosed, ReviewQueryRaised, ReviewRecorded
from shared.identities import Identity
from shared.words import LogIndex, RefusedError


def check_asked_about(envelope: Envelope, data: ReviewQueryRaised, records: Records) -> None:
    """Raise RefusedError unless the entries asked about are those, and about whom the query is."""
    for entry in named_entries(data.records, records):
        # What was refused is asked about too, and says of whom it is only as far as it can be read.
        if entry.admitted and envelope.subject is not None:
            subject = read_envelope(entry.body).subject
            if subject not in {None, envelope.subject}:
                raise RefusedError(f"data.records: entry {entry.index} is about participant {subject}")


def take_review(
    register: Register,
    envelope: Envelope,
    data: ReviewRecorded | ReviewQueryRaised | ReviewQueryAnswered | ReviewQueryClosed,
    identity: Identity,
    index: LogIndex,
) -> None:
    """Let a review or a query change what admission knows. Raises RefusedError before it changes anything."""
    if isinstance(data, ReviewRecorded):
        _check_review(register, data, index)
    elif isinstance(data, ReviewQueryRaised):
        _raise_query(register, envelope, data, index)
    else:
        query = _open_query(register, envelope, data.query, identity)
        if isinstance(data, ReviewQueryClosed):
            register.keep_query(data.query, ReviewQuery(query.entry, query.site, query.subject, closed=True))


def _check_review(register: Register, data: ReviewRecorded, index: LogIndex) -> None:
    if data.as_of >= index:
        raise RefusedError(f"data.as_of: there is no entry {data.as_of} yet; the last is {index - 1}")
    unknown = [name for name in data.queries if name not in register.queries]
    if unknown:
        raise RefusedError(f"data.queries: no query {unknown[0]} was raised")


def _raise_query(register: Register, envelope: Envelope, data: ReviewQueryRaised, index: LogIndex) -> None:
    if data.query in register.queries:
        raise RefusedError(
            f"data.query: {data.query} was raised before, by entry {register.queries[data.query].entry}: choose "
            "another name"
        )
    home = site_of(register, envelope.subject)
    if home is not None and home != data.site:
        raise RefusedError(f"data.site: participant {envelope.subject} is of site {home}")
    register.keep_query(data.query, ReviewQuery(index, data.site, envelope.subject))


def _open_query(register: Register, envelope: Envelope, name: str, identity: Identity) -> ReviewQuery:
    query = register.queries.get(name)
    if query is None:
        raise RefusedError(f"data.query: no query {name} was raised")
    if query.closed:
        raise RefusedError(f"data.query: {name} is closed: raise another")
    if query.subject != envelope.subject:
        about = "no participant" if query.subject is None else f"participant {query.subject}"
        raise RefusedError(f"data.query: {name} is about {about}")
    check_scope(identity, query.site)
    return query
