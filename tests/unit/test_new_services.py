"""A data directory from before a deciding service: its key is made and granted when the stack starts again."""

from pathlib import Path

from services.cli.beginning import begin_log, grant_new_services
from services.cli.installation import DECIDING, Installation
from shared.envelope import read_envelope
from shared.identities import ROOT_SOURCE
from shared.words import SourceId


def test_a_service_that_came_later_than_the_log_is_granted_its_right_once(tmp_path: Path) -> None:
    home = begin_log(tmp_path / "trial")
    (home.directory / "keys" / "service-safety.pem").unlink()
    for _ in range(2):
        grant_new_services(home)
        outbox = home.outbox(ROOT_SOURCE)
        told = [read_envelope(one.payload).data for one in outbox.waiting(20)]
        outbox.close()
        granted = [data["source"] for data in told if data.get("roles") == ["safety"]]
        assert granted == ["service/safety"] * 2, "the one of the genesis, and the one for the new key"
    assert all(home.has_key(SourceId(f"service/{name}"), name) for name in DECIDING)
    assert Installation.open(home.directory).has_key(SourceId("service/safety"), "safety")
