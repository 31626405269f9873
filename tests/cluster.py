"""A cluster of real nats-servers on free loopback ports, each on files of its own, ended by their own ids."""

import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


class Node:
    """One server of a cluster."""

    def __init__(self, directory: Path, name: str, port: int, route: int, monitor: int, routes: list[int]) -> None:
        self.name = name
        self.directory = directory
        self.port = port
        self._monitor = monitor
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True)
        others = ", ".join(f'"nats-route://127.0.0.1:{one}"' for one in routes if one != route)
        (directory / "nats.conf").write_text(
            f'server_name: "{name}"\nhost: "127.0.0.1"\nport: {port}\nhttp: "127.0.0.1:{monitor}"\n'
            f'jetstream {{ store_dir: "{directory}", sync_interval: always }}\n'
            f'cluster {{ name: "trial", listen: "127.0.0.1:{route}", routes: [{others}] }}\n'
        )

    def start(self) -> None:
        binary = Path(sysconfig.get_path("scripts")) / "nats-server"
        with (self.directory / "nats.log").open("ab") as log:
            command = [str(binary), "-c", str(self.directory / "nats.conf")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def signal(self, sign: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, sign)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def ask(self, path: str) -> dict[str, Any]:
        """What the server's monitor says."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._monitor}{path}", timeout=2) as answer:
            return dict(json.load(answer))

    def is_well(self) -> bool:
        """Whether JetStream is there, with every stream it keeps caught up."""
        try:
            return self.ask("/healthz")["status"] == "ok"
        except (OSError, ValueError):
            return False

    def leads(self, stream: str) -> bool:
        """Whether it leads a stream."""
        try:
            accounts = self.ask("/jsz?streams=true").get("account_details") or []
        except (OSError, ValueError):
            return False
        streams = [one for account in accounts for one in account.get("stream_detail") or []]
        return any(one["name"] == stream and one.get("cluster", {}).get("leader") == self.name for one in streams)


class BrokerCluster:
    """Three nodes."""

    def __init__(self, directory: Path) -> None:
        ports = free_ports(9)
        routes = ports[3:6]
        self.nodes = [
            Node(directory / f"n{at}", f"n{at}", ports[at], routes[at], ports[6 + at], routes) for at in range(3)
        ]

    @property
    def url(self) -> str:
        return ",".join(f"nats://127.0.0.1:{node.port}" for node in self.nodes)

    def leader(self, stream: str) -> Node:
        """The node that leads a stream; waited for."""
        return self._awaited(lambda: next((node for node in self.nodes if node.leads(stream)), None))

    def is_well(self) -> bool:
        return all(node.is_well() for node in self.nodes)

    def wait_until_well(self) -> None:
        self._awaited(self.is_well)

    def _awaited(self, look: Any) -> Any:
        deadline = time.monotonic() + 60
        while not (found := look()):
            assert time.monotonic() < deadline, "the cluster does not come to agree"
            time.sleep(0.1)
        return found


@contextmanager
def cluster(directory: Path) -> Iterator[BrokerCluster]:
    made = BrokerCluster(directory)
    try:
        for node in made.nodes:
            node.start()
        made.wait_until_well()
        yield made
    finally:
        for node in made.nodes:
            node.stop()
