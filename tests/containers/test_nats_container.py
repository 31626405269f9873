"""The system on a broker in a container, with the configuration that is deployed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import docker
import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from services.cli.beginning import begin_log
from services.cli.installation import Installation
from tests.scenario import SITE, Local, play

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]
_CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nats" / "nats.conf"
_PATIENCE = 30.0


@pytest.fixture
def broker(engine: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerContainer]:
    # The clean-up container of testcontainers is one more image to pull; the `with` below cleans up as well.
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
    container = DockerContainer("nats:2").with_command("-c /etc/trail.conf").with_exposed_ports(4222)
    container.waiting_for(LogMessageWaitStrategy("Server is ready"))
    try:
        with container.with_volume_mapping(str(_CONFIGURATION), "/etc/trail.conf") as running:
            yield running
    except docker.errors.ImageNotFound as error:
        pytest.skip(f"the image nats:2 is not here and cannot be pulled: {error}")


@contextmanager
def service(home: Installation, name: str, key: str, url: str) -> Iterator[None]:
    """A service as a process of its own, as it is deployed: configured by environment variables alone."""
    settings = {
        "TRAIL_HOME": str(home.directory),
        "TRAIL_BROKER": url,
        "TRAIL_DATA": str(home.directory / name),
        "TRAIL_KEY": str(home.directory / "keys" / f"{key}.pem"),
    }
    path = home.directory / f"{name}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", f"services.{name}.app"], env=dict(os.environ) | settings, stderr=log
        )
    try:
        deadline = time.monotonic() + _PATIENCE
        while b'"event": "ready"' not in path.read_bytes():
            assert process.poll() is None, path.read_text()
            assert time.monotonic() < deadline, path.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


def test_a_broker_in_a_container_carries_the_same_system(broker: DockerContainer, tmp_path: Path) -> None:
    home = begin_log(tmp_path / "trial", practice=True)
    home.policy_path.unlink()  # no witness runs here, so none may be asked for
    url = f"nats://{broker.get_container_host_ip()}:{broker.get_exposed_port(4222)}"
    with ExitStack() as parts:
        for name, key in (("audit", "log"), ("screening", "service-screening"), ("safety", "service-safety")):
            parts.enter_context(service(home, name, key, url))
        system = Local(home, url)
        play(system, tmp_path)
        assert system.check_receipts(SITE) > 30
