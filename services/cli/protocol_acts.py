"""What ``trail protocol amend`` and ``activate`` do: draft, sign, have it sealed, tell the ruling."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.cli.delivery import Post
from services.cli.installation import Installation
from services.cli.output import GOOD, WRONG, safe, say
from services.cli.protocol_views import versions_of
from services.cli.speaking import Speaker
from services.console.protocols import Protocols
from shared.drafts import Draft
from shared.moments import stamp
from shared.protocol.model import protocol_digest
from shared.protocol.versions import checked
from shared.words import SourceId, TrailError


@dataclass(frozen=True, slots=True)
class Amending:
    """Whoever posts a version or its activation: a system of this machine, or the person ``by``."""

    data: Path
    source: str
    by: str | None = None
    passphrase_file: Path | None = None
    broker: str | None = None

    def amend(self, file: Path, summary: str, replaces: str | None, *, reconsent: bool) -> int:
        """Seal another version; the exit code.

        Raises TrailError when its document cannot be used: the log would take it, and no service could.
        """
        home = Installation.open(self.data)
        text = file.read_text("utf-8")
        protocol, known = checked(text, home.trial), versions_of(home)
        taken = next((one for one in known.versions.values() if one.name == protocol.version), None)
        if taken is not None:
            raise TrailError(
                f"there is a version {protocol.version} already, of entry {taken.entry}: give {file} a version of "
                "its own"
            )
        data = {
            "document": text,
            "digest": protocol_digest(text),
            "replaces": _replaced(known, replaces),
            "reconsent": reconsent,
            "summary": summary,
        }
        code = self._seal(home, "protocol.amended", data)
        if code == GOOD:
            say(
                f"Version {safe(protocol.version)}, {data['digest']}. Next: two persons sign it with `trail sign`, "
                "then `trail protocol activate` at each site."
            )
        return code

    def activate(self, digest: str, said: dict[str, str]) -> int:
        """Activate a version at a site; the exit code."""
        home = Installation.open(self.data)
        version = versions_of(home).version(digest)
        if version.protocol is None:
            raise TrailError(f"the version of entry {version.entry} cannot be used: {version.problem}")
        return self._seal(home, "protocol.activated", {"digest": version.digest, **said})

    def _seal(self, home: Installation, type_: str, data: dict[str, Any]) -> int:
        system = SourceId(self.source)
        if self.by is None and not home.has_key(system, "sponsor"):
            draft = Draft(source=system, type=type_, time=stamp(datetime.now(UTC)), data=data)
            post = Post(home)
            post.put(post.missing_grants([draft]))
            post.close()
            say(f"{safe(system)} had no key here: made one, and the root grants it")
        speaker = Speaker(self.data, self.by, self.passphrase_file, self.broker)
        return WRONG if speaker.seal(type_, data, system=system).verdict == "refused" else GOOD


def _replaced(known: Protocols, digest: str | None) -> str:
    """The digest of the version that is amended: the one named, else the newest that was sealed."""
    if digest is not None:
        return known.version(digest).digest
    usable = [one.digest for one in known.versions.values() if one.protocol is not None]
    if not usable:
        raise TrailError("no protocol is sealed in this log yet: there is nothing to amend")
    return usable[-1]
