"""Container tests run where a Docker engine answers, and say why where none does."""

import docker
import pytest


@pytest.fixture(scope="session")
def engine() -> str:
    """The version of the Docker engine."""
    try:
        client = docker.from_env(timeout=10)
        version = str(client.version()["Version"])
        client.close()
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")
    return version
