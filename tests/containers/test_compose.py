"""docker-compose.yml: built, started, used, and taken down again with its volumes."""

import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.scenario import play, read_output

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]
_ROOT = Path(__file__).parents[2]
_PARTS = ("nats", "postgres", "witness", "audit", "screening", "safety")


@dataclass(frozen=True, slots=True)
class Composed:
    """The project of one test: a name, a port and an image tag of its own."""

    command: tuple[str, ...]
    project: str
    port: int

    @property
    def url(self) -> str:
        """Where the broker is published, on this machine only."""
        return f"nats://127.0.0.1:{self.port}"

    def compose(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run docker compose on the project."""
        environment = dict(os.environ) | {"TRAIL_PORT": str(self.port), "TRAIL_TAG": "test", "TRAIL_PRACTICE": "1"}
        command = [*self.command, "--project-name", self.project, *arguments]
        return subprocess.run(
            command, cwd=_ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )

    def trail(self, *arguments: str, file: Path | None = None) -> tuple[int, Any]:
        """Run the command in its own container, beside the services."""
        mount = ["--volume", f"{file}:/drafts.ndjson:ro"] if file else []
        given = [*arguments, *(["/drafts.ndjson"] if file else []), "--json"]
        done = self.compose("run", "--rm", "--no-TTY", *mount, "trail", *given)
        return done.returncode, read_output(done)

    def healthy(self) -> bool:
        """Whether every lasting part is up and its health check says that it does its work."""
        client = docker.from_env()
        ours = client.containers.list(filters={"label": f"com.docker.compose.project={self.project}"})
        client.close()
        return len(ours) == len(_PARTS) and all(one.health == "healthy" for one in ours)

    def execute(self, part: str, *command: str) -> tuple[int, str]:
        """Run something inside a service's container."""
        client = docker.from_env()
        done = client.containers.get(f"{self.project}-{part}-1").exec_run(list(command))
        client.close()
        return done.exit_code, done.output.decode().strip()


@pytest.fixture(scope="module")
def composed(engine: str) -> Iterator[Composed]:
    system = Composed(_docker_compose(), f"trailtest-{uuid.uuid4().hex[:8]}", _free_port())
    try:
        started = system.compose("up", "--build", "--wait", "--quiet-pull")
        if not system.healthy():  # rather than an exit code: PyPI's wrapper around docker-compose loses it
            said = system.compose("logs", "--no-color").stdout.decode(errors="replace")
            pytest.fail(f"the stack did not come up:\n{started.stderr.decode(errors='replace')}\n{said}")
        yield system
    finally:
        system.compose("down", "--volumes", "--timeout", "20")


def test_the_composed_stack_seals_decides_and_replays(composed: Composed, tmp_path: Path) -> None:
    play(composed, tmp_path)


def test_a_service_is_nobody_and_sees_only_what_it_needs(composed: Composed) -> None:
    for part in _PARTS:
        code, user = composed.execute(part, "stat", "-c", "%u", "/proc/1")
        assert (code, user == "10001", user == "0") == (0, part != "postgres", False)
        assert composed.execute(part, "touch", "/here")[0] != 0
    for forbidden in ("/data/trial.json", "/data/keys/log.pem", "/data/audit/log.sqlite"):
        assert composed.execute("screening", "sh", "-c", f"echo >> {forbidden}")[0] != 0


def test_a_service_that_hangs_is_unhealthy(composed: Composed) -> None:
    look = ("env", "TRAIL_MONITOR=http://127.0.0.1:8222", "python3", "/usr/local/lib/trail/health.py", "screening")
    assert composed.execute("nats", *look) == (0, "screening is well")
    composed.compose("pause", "screening")
    try:
        assert composed.execute("nats", *look) == (1, "screening has gone")
    finally:
        composed.compose("unpause", "screening")
    assert composed.execute("nats", *look) == (0, "screening is well")


def _docker_compose() -> tuple[str, ...]:
    """Docker's compose plugin, or the command of that name."""
    for command in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip("neither `docker compose` nor `docker-compose` is installed")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
