"""Secrets out of files, as Docker and Kubernetes mount them."""

from pathlib import Path

from shared.words import TrailError


def read_secret(path: Path) -> bytes:
    """A secret that has a file of its own, without the line feed at its end.

    Raises TrailError when it cannot be read, or is empty.
    """
    try:
        secret = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise TrailError(f"the secret {path} cannot be read ({error.strerror}); is it mounted?") from None
    if not secret:
        raise TrailError(f"the secret {path} is empty; write it, or leave its variable out")
    return secret
