"""The embedded stack: the real broker and the services as processes of their own, supervised."""

import asyncio
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from services.cli.beginning import grant_new_services
from services.cli.broker_access import server_configuration
from services.cli.broker_tls import ensure_certificate
from services.cli.delivery import line
from services.cli.installation import DECIDING, Installation
from shared.metrics import beside
from shared.words import TrailError

_START_TIMEOUT: Final = 60.0
_QUICK: Final = 10.0  # a process that ends within so many seconds of its start has not recovered
_MAX_QUICK: Final = 5


METRICS: Final = "TRAIL_METRICS"
_METRICS_PORTS: Final = ("audit", *DECIDING, "witness")


class Stack:
    """Starts, watches and ends the processes of one data directory.

    A process that dies is started again, on the same port and data. One that cannot stay up stops the stack
    with the sentence it left behind; ``patience`` is how often in a row it may die young.
    """

    def __init__(self, installation: Installation, say: Callable[[str], None] = lambda _line: None) -> None:
        self._installation = installation
        self._say = say
        self._run = installation.directory / "run"
        self._run.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self._run / "stack.lock")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}
        self._offsets: dict[str, int] = {}  # where in its log a process's present run begins
        self._quick: dict[str, int] = {}
        self.patience = _MAX_QUICK
        self._ports = {name: _remembered_port(self._run / f"{name}.json") for name in ("broker", "witness")}
        witness = ("witness",) if installation.local_witness() is not None else ()
        self._names = ("broker", *witness, "audit", *DECIDING)

    @property
    def url(self) -> str:
        """Where the broker listens."""
        return f"nats://127.0.0.1:{self._ports['broker']}"

    def pid(self, name: str) -> int:
        """The process id of one of broker, witness, audit, screening, safety."""
        return self._processes[name].pid

    def start(self) -> None:
        """Start everything and wait until it is ready.

        Raises TrailError with the failing process's own last words.
        """
        self._end_leftovers()
        grant_new_services(self._installation)
        # The notary asks the witness before it seals anything; what does not wait for each other starts together.
        services = 1 + len(DECIDING)
        before, notary, deciding = self._names[:-services], ("audit",), tuple(DECIDING)
        if not self._installation.is_guarded:
            self._start_together(before)
            self._start_together((*notary, *deciding))
        else:
            ensure_certificate(self._installation)
            self._start_together(before)
            self._start_together(notary)
            # A broker that tells its users apart knows nobody whose grant is not sealed.
            asyncio.run(self._introduce())
            self._start_together(deciding)
        (self._run / "broker.json").write_text(
            json.dumps({"url": self.url, "port": self._ports["broker"]}), "utf-8"
        )

    def _start_together(self, names: Sequence[str]) -> None:
        for name in names:
            self._spawn(name)
        for name in names:
            self._wait_ready(name)

    async def _introduce(self) -> None:
        async with line(self._installation, self.url):
            pass

    def watch_once(self) -> None:
        """Start again what has died.

        Raises TrailError when a process keeps dying.
        """
        for name in self._names:
            process = self._processes[name]
            if process.poll() is None:
                continue
            quick = time.monotonic() - self._started[name] < _QUICK
            self._quick[name] = self._quick.get(name, 0) + 1 if quick else 1
            if self._quick[name] > self.patience:
                raise TrailError(f"{name} does not stay up: {self._last_words(name)}")
            self._say(f"{name} ended (exit code {process.returncode}); starting it again")
            try:
                self._spawn(name)
                self._wait_ready(name)
            except TrailError as error:  # counted as another quick end, next time
                self._say(str(error))

    def stop(self) -> None:
        """End everything, readers before the broker."""
        for name in reversed(self._names):
            process = self._processes.get(name)
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        (self._run / "processes.json").unlink(missing_ok=True)
        os.close(self._lock)

    def _spawn(self, name: str) -> None:
        if name == "broker":
            command, environment = self._broker_command(), dict(os.environ)
        else:
            command = [sys.executable, "-m", f"services.{name}.app"]
            environment = self._witness_environment() if name == "witness" else self._environment(name)
        log_path = self._run / f"{name}.log"
        with log_path.open("ab") as log:
            self._offsets[name] = log.tell()
            self._processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which ends the others in order
            )
        self._started[name] = time.monotonic()
        self._remember_processes()

    def _wait_ready(self, name: str) -> None:
        log_path = self._run / f"{name}.log"
        marker = b"Server is ready" if name == "broker" else b'"event": "ready"'
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline:
            with log_path.open("rb") as log:
                log.seek(self._offsets[name])
                if marker in log.read():
                    return
            if self._processes[name].poll() is not None:
                raise TrailError(f"{name} could not start: {self._last_words(name)}")
            time.sleep(0.02)
        raise TrailError(f"{name} was not ready within {_START_TIMEOUT:.0f} s; see {log_path}")

    def _broker_command(self) -> list[str]:
        port = self._choose_port("broker")
        home = self._installation
        store = home.directory / "broker"
        config = (home.broker_access_path if home.is_guarded else self._run) / "nats.conf"
        config.write_text(
            server_configuration(f"127.0.0.1:{port}", str(store), str(home.broker_access_path))
            if home.is_guarded
            else f'host: "127.0.0.1"\nport: {port}\nserver_name: "trialtrail"\n'
            f'jetstream {{ store_dir: "{store}", sync_interval: always }}\n',
            "utf-8",
        )
        binary = Path(sysconfig.get_path("scripts")) / "nats-server"
        if not binary.exists():
            raise TrailError(f"the broker is not installed at {binary}; run `make setup`")
        return [str(binary), "-c", str(config)]

    def _environment(self, name: str) -> dict[str, str]:
        home = self._installation
        key = "log" if name == "audit" else f"service-{name}"
        # Where another service's key is, is not meant for these: theirs are files of this directory.
        apart = {"TRAIL_KEY_PEM", "TRAIL_KEY_PASSPHRASE_FILE"}
        inherited = {variable: value for variable, value in os.environ.items() if variable not in apart}
        credentials = home.credentials(key)
        database = {}
        if home.database:
            database["TRAIL_DATABASE"] = home.database_url("notary" if name == "audit" else name)
        access = (
            {}
            if credentials is None
            else {"TRAIL_BROKER_KEY": str(credentials.key), "TRAIL_BROKER_CA": str(credentials.ca)}
        )
        return (
            inherited
            | access
            | database
            | _metrics(METRICS, name)
            | {
                "TRAIL_TRIAL": home.trial,
                "TRAIL_BROKER": self.url,
                "TRAIL_DATA": str(home.directory / name),
                "TRAIL_KEY": str(home.directory / "keys" / f"{key}.pem"),
                "TRAIL_LOG_KEY": home.log_key.vkey(),
                "TRAIL_POLICY": str(home.policy_path),
                "TRAIL_TIMESTAMPING": str(home.timestamping_path),
                "TRAIL_TILES": os.environ.get("TRAIL_TILES", str(home.tiles_path)),
            }
        )

    def _witness_environment(self) -> dict[str, str]:
        home, known = self._installation, self._installation.local_witness()
        port = self._choose_port("witness")
        url = f"http://127.0.0.1:{port}"
        (self._run / "witness.json").write_text(json.dumps({"url": url, "port": port}), "utf-8")
        if known is not None and known.url != url:
            home.move_witness(url)
        return (
            dict(os.environ)
            | _metrics("TRAIL_WITNESS_METRICS", "witness")
            | {
                "TRAIL_WITNESS_DATA": str(home.witness_path),
                "TRAIL_WITNESS_LISTEN": f"127.0.0.1:{port}",
            }
        )

    def _choose_port(self, name: str) -> int:
        if self._ports[name] == 0 or not _is_free(self._ports[name]):
            self._ports[name] = _free_port()
        return self._ports[name]

    def _last_words(self, name: str) -> str:
        path = self._run / f"{name}.log"
        lines = path.read_bytes()[self._offsets[name] :].decode(errors="replace").splitlines()
        for words in reversed(lines):
            try:
                said = json.loads(words)
            except ValueError:
                continue
            if isinstance(said, dict) and "error" in said:
                return str(said["error"])
        return f"see {path}"

    def _remember_processes(self) -> None:
        pids = {name: process.pid for name, process in self._processes.items()}
        (self._run / "processes.json").write_text(json.dumps(pids), "utf-8")

    def _end_leftovers(self) -> None:
        """End what a killed supervisor left running; only processes that are provably this directory's."""
        try:
            pids = json.loads((self._run / "processes.json").read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return
        for name, pid in pids.items():
            if _belongs(pid, name, self._installation.directory):
                self._say(f"ending a {name} that an interrupted run left behind (process {pid})")
                _end(pid)


def _metrics(variable: str, name: str) -> dict[str, str]:
    """Where one of our processes serves metrics: the notary where TRAIL_METRICS says, the others on the next ports.

    Raises TrailError when that is no address.
    """
    address = os.environ.get(METRICS, "")
    return {variable: beside(address, _METRICS_PORTS.index(name))} if address else {}


def _belongs(pid: int, name: str, directory: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        environment = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return False
    if name == "broker":
        return str(directory) in command
    mark = "TRAIL_WITNESS_DATA" if name == "witness" else "TRAIL_DATA"
    return f"{mark}={directory / name}\0" in environment


def _end(pid: int) -> None:
    for sign, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.kill(pid, sign)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                os.kill(pid, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            return


def _lock(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise TrailError(f"a stack is already running on {path.parent.parent}") from None
    return lock


def is_running(directory: Path) -> bool:
    """Whether a stack is running on a data directory."""
    try:
        os.close(_lock(directory / "run" / "stack.lock"))
    except TrailError:
        return True
    except FileNotFoundError:
        return False
    return False


def _remembered_port(path: Path) -> int:
    """The port of the last run, so that clients that were cut off find the broker again."""
    try:
        return int(json.loads(path.read_text("utf-8"))["port"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def broker_url(directory: Path) -> str:
    """Where the stack of a data directory listens.

    Raises TrailError when none has been started there.
    """
    try:
        return str(json.loads((directory / "run" / "broker.json").read_text("utf-8"))["url"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise TrailError(f"no stack has run on {directory}; start one with `trail up --data {directory}`") from None
