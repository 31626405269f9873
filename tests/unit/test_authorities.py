"""timestamping.json says who stamps, and whom to believe; a mistake in it is named by file and field."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from services.audit.authorities import NO_TIMESTAMPING, Authority, read_authorities
from shared.words import TrailError
from tests.tsa import Certifier, roots_of

LINE = {"name": "tsa-1", "url": "https://tsa.example/", "roots": "roots.pem"}


@pytest.fixture(scope="module")
def certifier(tmp_path_factory: pytest.TempPathFactory) -> Certifier:
    return Certifier(tmp_path_factory.mktemp("certifier") / "one")


def configure(directory: Path, document: object, **files: bytes) -> Path:
    path = directory / "timestamping.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    for name, content in files.items():
        (directory / f"{name}.pem").write_bytes(content)
    return path


def test_authorities_are_read_with_their_roots(tmp_path: Path, certifier: Certifier) -> None:
    retired = {"name": "tsa-2", "roots": "both.pem"}
    root, other = certifier.roots.read_bytes(), (certifier.directory / "tsa.pem").read_bytes()
    authorities = [LINE, retired]
    path = configure(tmp_path, {"every_seconds": 90, "authorities": authorities}, roots=root, both=root + other)
    read = read_authorities(path)
    assert read.every == timedelta(seconds=90)
    assert read.authorities[0] == Authority("tsa-1", "https://tsa.example/", roots_of(certifier))
    assert (read.authorities[1].url, len(read.authorities[1].roots)) == ("", 2)
    assert read.asked == read.authorities[:1]


def test_without_the_file_nobody_is_asked(tmp_path: Path) -> None:
    assert read_authorities(tmp_path / "timestamping.json") == NO_TIMESTAMPING
    assert NO_TIMESTAMPING.asked == ()


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "the document: Input should be"),
        ({"authorities": []}, "every_seconds: Field required"),
        ({"every_seconds": "3600", "authorities": []}, "every_seconds: Input should be a valid integer"),
        ({"every_seconds": 0, "authorities": []}, "every_seconds: Input should be greater than"),
        ({"every_seconds": 10**12, "authorities": []}, "every_seconds: Input should be less than"),
        ([LINE | {"name": "tsa 1"}], r"authorities\[0\].name: String should match pattern"),
        ([LINE | {"name": "a" * 65}], r"authorities\[0\].name: String should match pattern"),
        ([LINE | {"url": "ftp://tsa.example/"}], r"authorities\[0\].url: .*must be an http or https address"),
        ([LINE | {"url": "https:///path"}], r"authorities\[0\].url: .*must be an http or https address"),
        ([LINE | {"url": "https://tsa.example:http/"}], r"authorities\[0\].url: "),
        ([LINE | {"rots": "x"}], r"authorities\[0\].rots: Extra inputs are not permitted"),
        ([LINE, LINE], r"authorities\[1\].name: there is already an authority named tsa-1"),
        ([LINE | {"roots": "none.pem"}], r"authorities\[0\].roots: none.pem cannot be read: No such file"),
        ([LINE | {"roots": "empty.pem"}], r"authorities\[0\].roots: empty.pem holds no certificate"),
        ([LINE | {"roots": "broken.pem"}], r"authorities\[0\].roots: broken.pem holds no certificate"),
    ],
)
def test_what_is_wrong_with_the_file_is_said_with_the_field(
    tmp_path: Path, certifier: Certifier, document: object, sentence: str
) -> None:
    if isinstance(document, list):
        document = {"every_seconds": 3600, "authorities": document}
    root = certifier.roots.read_bytes()
    path = configure(tmp_path, document, roots=root, empty=b"", broken=root[:100] + root[104:])
    with pytest.raises(TrailError, match=f"{path}.*{sentence}"):
        read_authorities(path)
