"""What a person may sign, of all that waits: by role, site, delegation and what the person signed before. Pure."""

from datetime import datetime

from services.console.signatures import Book, Waiting
from shared.events.authority import DELEGATED, authority
from shared.events.base import Role
from shared.events.signatures import Meaning
from shared.identities import Identity, Person
from shared.words import TrailError


def role_for(me: Identity, meaning: Meaning) -> Role:
    """The role in which a person signs with a meaning: of several the first that the authority table names.

    Raises TrailError when none of the person's roles may.
    """
    roles = authority().signatures[meaning].roles
    found = next((role for role in roles if role in me.roles), None)
    if found is None:
        raise TrailError(
            f"{meaning} is signed by {' or '.join(sorted(roles))}, and {me.user} is "
            f"{' and '.join(sorted(me.roles))}: ask one of them"
        )
    return found


def waits_for(book: Book, me: Identity, person: Person, now: datetime) -> list[Waiting]:
    """What waits for this person's signature, in the log's order."""
    return [one for one in book.waiting() if _is_mine(one, me, person, now)]


def _is_mine(one: Waiting, me: Identity, person: Person, now: datetime) -> bool:
    rule = authority().signatures[one.meaning]
    mine = [role for role in rule.roles if role in me.roles & one.roles]
    if not mine or me.user in one.signed_by or one.only not in {None, me.user}:
        return False
    if one.subject is not None and (one.site is None or not me.may_act_at(one.site)):
        return False
    # Admission asks for the delegation of the role that signs, which is the first one (see role_for).
    return rule.task is None or mine[0] not in DELEGATED or person.may(rule.task, one.site or "", now)
