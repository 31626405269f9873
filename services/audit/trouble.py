"""What goes wrong with somebody outside: remembered and shown, never a reason to stop."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a witness, an authority or a place, and since when (aware)."""

    since: datetime
    what: str
