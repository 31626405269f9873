"""A bucket at a real server of the S3 interface, for tests; PyPI's moto[server] is one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest


def point_to(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Have this process's S3 requests go to an endpoint."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


@contextmanager
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a new bucket; skips the test where no server is installed."""
    moto = pytest.importorskip("moto.server", reason="needs PyPI's moto[server], a server of the S3 interface")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        point_to(monkeypatch, f"http://{host}:{port}")
        httpx.put(f"http://{host}:{port}/trail").raise_for_status()
        yield "s3://trail/a/log"
    finally:
        httpx.post(f"http://{host}:{port}/moto-api/reset")
        server.stop()
