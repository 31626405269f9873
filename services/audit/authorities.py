"""Which time-stamping authorities a trial asks, how often, and the roots their answers are checked against.

``timestamping.json`` in the data directory, with a PEM file for each authority beside it:

    {"every_seconds": 3600, "authorities": [{"name": "tsa-1", "url": "https://...", "roots": "tsa-1.pem"}]}

An authority without ``url`` is no longer asked; its timestamps are still checked.
"""

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from cryptography.x509 import Certificate, load_pem_x509_certificates
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from shared.words import TrailError


@dataclass(frozen=True, slots=True)
class Authority:
    """A time-stamping authority: where it is asked (empty: no longer), and whom its certificates go back to."""

    name: str
    url: str
    roots: tuple[Certificate, ...]


@dataclass(frozen=True, slots=True)
class Timestamping:
    """What a trial has timestamped, and by whom; nobody when ``authorities`` is empty."""

    every: timedelta
    authorities: tuple[Authority, ...]

    @property
    def asked(self) -> tuple[Authority, ...]:
        """The authorities that are asked for timestamps."""
        return tuple(authority for authority in self.authorities if authority.url)


NO_TIMESTAMPING: Final = Timestamping(timedelta(hours=1), ())


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError("must be an http or https address")
    return text


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    url: Annotated[str, AfterValidator(_web_address)] = ""
    roots: Annotated[str, Field(min_length=1)]


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    every_seconds: Annotated[int, Field(ge=1, le=30 * 86400)]
    authorities: list[_Line]


def read_authorities(path: Path) -> Timestamping:
    """Read ``timestamping.json`` and the roots it names; nobody is asked when there is no such file.

    Raises TrailError naming the file and the field.
    """
    if not path.exists():
        return NO_TIMESTAMPING
    try:
        document = _Document.model_validate(json.loads(path.read_text("utf-8")))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise TrailError(f"{path}: {where.lstrip('.') or 'the document'}: {first['msg']}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise TrailError(f"{path} cannot be read as JSON: {error}") from None
    names = [line.name for line in document.authorities]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise TrailError(f"{path}: authorities[{at}].name: there is already an authority named {name}")
    authorities = tuple(
        Authority(line.name, line.url, _roots(path, f"authorities[{at}].roots", line.roots))
        for at, line in enumerate(document.authorities)
    )
    return Timestamping(timedelta(seconds=document.every_seconds), authorities)


def _roots(path: Path, field: str, name: str) -> tuple[Certificate, ...]:
    try:
        return tuple(load_pem_x509_certificates((path.parent / name).read_bytes()))
    except OSError as error:
        raise TrailError(f"{path}: {field}: {name} cannot be read: {error.strerror}") from None
    except ValueError:
        raise TrailError(
            f"{path}: {field}: {name} holds no certificate; put the authority's root certificates there, as PEM"
        ) from None
