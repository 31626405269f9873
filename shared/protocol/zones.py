"""Time zones that a protocol document names."""

from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator

import shared.moments  # noqa: F401  pins zoneinfo to the locked tzdata before any zone is opened


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name} is not a time zone; write it like Asia/Shanghai") from None
    return name


ZoneName = Annotated[str, AfterValidator(_zone)]
