"""A site that runs none of our code: the Node example of docs/sites.md, against the real stack."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.audit.log import Log
from services.cli.beginning import begin_log
from services.cli.installation import granted
from services.cli.stack import Stack
from shared.drafts import Draft
from shared.identities import ROOT_SOURCE
from shared.moments import stamp
from shared.receipt import open_receipt
from shared.signing import SigningKey
from tests.node import install
from tests.scenario import SITE, Local, write_drafts

_EXAMPLE = Path(__file__).parents[2] / "examples" / "post-event.mjs"
Post = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, installed as its first lines say, in a folder of its own."""
    folder = install(tmp_path_factory.mktemp("site"))
    return Path(shutil.copy(_EXAMPLE, folder))


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Local]:
    home = begin_log(tmp_path / "trial")
    stack = Stack(home)
    try:
        stack.start()
        yield Local(home, stack.url)
    finally:
        stack.stop()


@pytest.fixture
def post(example: Path, system: Local, tmp_path: Path) -> Post:
    """The example as a site runs it, with a key that never leaves the site."""
    key = SigningKey.generate()
    key.save(tmp_path / "site.pem")
    data = granted(key, SITE, "site_system", "EDC of site 701")
    grant = Draft(source=ROOT_SOURCE, type="identity.granted", time=stamp(datetime.now(UTC)), data=data)
    code, told = system.trail("submit", "--wait", file=write_drafts(tmp_path / "grant.ndjson", [grant]))
    assert code == 0, told
    settings = {
        "TRAIL_BROKER": system.url,
        "TRAIL_TRIAL": system.home.trial,
        "TRAIL_SITE": SITE.partition("/")[2],
        "TRAIL_KEY": str(tmp_path / "site.pem"),
        "TRAIL_LOG_KEY": system.home.log_key.vkey(),
        "TRAIL_OUTBOX": str(tmp_path / "outbox"),
    }

    def run(*arguments: str, timeout: float = 60, **changed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["node", str(example), *arguments],
            env=dict(os.environ) | settings | changed,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


def _told(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_site_in_another_language_posts_events_and_holds_receipts_that_verify(
    post: Post, system: Local, tmp_path: Path
) -> None:
    today = datetime.now(UTC).date().isoformat()
    said = [
        ("screening.registered", '{"sex": "female", "birth_date": "1981-08-17"}'),
        (
            "screening.observed",
            '{"item": "creatinine", "collected": "%s", "value": 0.90, "unit": "mg/dL"}' % today,  # noqa: UP031
        ),
    ]
    log = Log.at(system.home.places.log, read_only=True)
    for number, (type_, data) in enumerate(said, 1):
        done = post(type_, "701-001", data)
        assert done.returncode == 0, done.stderr
        (told,) = _told(done)
        assert (told["sequence"], told["verdict"]) == (number, "admitted"), told
        # The site's own bytes are what is sealed, and the receipt in its hands proves it.
        payload = (tmp_path / "outbox" / f"{number}.event").read_bytes()
        receipt = (tmp_path / "outbox" / f"{number}.receipt").read_text("utf-8")
        entry = open_receipt(receipt, payload, system.home.log_key).entry
        assert entry.raw == log.entry(told["index"]).raw
        assert data.encode() in entry.body
    log.close()
    code, told = system.trail("show", "participant", "701-001")
    assert code == 0
    assert told["source"] == SITE


def test_a_site_learns_why_an_event_was_refused(post: Post, tmp_path: Path) -> None:
    done = post("screening.registered", "701-001", '{"sex": "F"}')
    (told,) = _told(done)
    assert (done.returncode, told["verdict"]) == (1, "refused")
    assert "data.sex must be one of" in told["reason"]


def test_what_broke_off_is_sent_by_the_next_run(post: Post, tmp_path: Path) -> None:
    registered = ("screening.registered", "701-001", '{"sex": "female", "birth_date": "1981-08-17"}')
    assert post(*registered, TRAIL_BROKER="nats://127.0.0.1:9").returncode != 0  # the discard port: nobody there
    assert [path.name for path in (tmp_path / "outbox").iterdir()] == ["1.event"]
    done = post()
    assert done.returncode == 0, done.stderr
    assert [one["verdict"] for one in _told(done)] == ["admitted"]


def test_a_receipt_that_another_log_has_signed_settles_nothing(post: Post, system: Local, tmp_path: Path) -> None:
    other = begin_log(tmp_path / "other")
    registered = ("screening.registered", "701-001", '{"sex": "female", "birth_date": "1981-08-17"}')
    with pytest.raises(subprocess.TimeoutExpired):
        post(*registered, timeout=12, TRAIL_LOG_KEY=other.log_key.vkey())
    assert [path.name for path in (tmp_path / "outbox").iterdir()] == ["1.event"]


def test_the_readmes_client_posts_an_event_and_prints_its_receipt(
    example: Path, post: Post, system: Local, tmp_path: Path
) -> None:
    hello = Path(shutil.copy(_EXAMPLE.with_name("hello.mjs"), example.parent))
    settings = {"TRAIL_BROKER": system.url, "TRAIL_KEY": str(tmp_path / "site.pem")}
    done = subprocess.run(
        ["node", str(hello)],
        env=dict(os.environ) | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, _, index = done.stdout.split("\n")[:3]
    assert first == "c2sp.org/tlog-proof@v1"
    log = Log.at(system.home.places.log, read_only=True)
    entry = log.entry(int(index.removeprefix("index ")))
    log.close()
    assert entry.admitted
    assert open_receipt(done.stdout.removesuffix("\n"), entry.body, system.home.log_key).entry.raw == entry.raw
