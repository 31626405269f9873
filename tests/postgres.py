"""A PostgreSQL server of the tests' own: real, on a free loopback port, ended with them.

It is made of this machine's ``initdb`` and ``postgres``, wherever Debian or the PATH has them, or is the server
that TRAIL_TEST_POSTGRES names, as ``postgresql://SUPERUSER@HOST:PORT/postgres``.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

PASSWORD = "of-the-tests-alone"  # noqa: S105
GIVEN = os.environ.get("TRAIL_TEST_POSTGRES", "")


def binaries() -> Path | None:
    """The folder of ``initdb`` and ``postgres``; None where there is none."""
    found = shutil.which("initdb")
    if found is not None and Path(found).resolve().with_name("postgres").exists():
        return Path(found).resolve().parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


def missing() -> str:
    """Why there is no server to be had; empty where there is."""
    if GIVEN or binaries() is not None:
        return ""
    return "no PostgreSQL here: install Debian's postgresql, or name a server in TRAIL_TEST_POSTGRES"


class Server:
    """A server on files of its own."""

    def __init__(self, directory: Path, settings: Sequence[str] = ()) -> None:
        found = binaries()
        assert found is not None
        self._binaries = found
        self._settings = settings
        self.directory = directory
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(directory, self._user, self._user)
        secret = directory / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)  # of a server that guards nothing
        made = [str(found / "initdb"), "-D", str(directory / "data"), "-U", "postgres", "--encoding=UTF8"]
        self._run([*made, "--locale=C", "--no-sync", "--auth=scram-sha-256", f"--pwfile={secret}"])

    @property
    def url(self) -> str:
        """As the superuser."""
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.directory}"]
        for setting in self._settings:
            options += ["-c", setting]
        command = [
            str(self._binaries / "postgres"),
            "-D",
            str(self.directory / "data"),
            "-p",
            str(self.port),
            *options,
        ]
        with (self.directory / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=self._user, cwd=self.directory
            )
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url, connect_timeout=2).close()
                return
            assert self._process.poll() is None, (self.directory / "postgres.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def standby(self, directory: Path) -> "Server":
        """Another server that follows this one, and has all that this one has said is committed."""
        made = Server.__new__(Server)
        made._binaries, made._user, made._process = self._binaries, self._user, None
        made.directory, made.port = directory, _free_port()
        if made._user is not None:
            shutil.chown(directory, made._user, made._user)
        secret = directory / "pgpass"
        secret.write_text(f"*:*:*:postgres:{PASSWORD}\n")
        secret.chmod(0o600)
        if made._user is not None:
            shutil.chown(secret, made._user, made._user)
        source = f"host=127.0.0.1 port={self.port} user=postgres passfile={secret} application_name=standby"
        backup = [str(self._binaries / "pg_basebackup"), "-D", str(directory / "data"), "-d", source]
        made._run([*backup, "--write-recovery-conf", "--checkpoint=fast"])
        made._settings = []
        made.start()
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            connection.execute("SELECT pg_reload_conf()")
        return made

    def promote(self) -> None:
        """Let a standby lead; it waits for no other."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            connection.execute("SELECT pg_reload_conf()")

    def stop(self, sign: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT ends sessions and checkpoints, SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(sign)
            self._process.wait(60)
            self._process = None

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, check=False, user=self._user, cwd=self.directory)
        assert done.returncode == 0, done.stderr.decode()


@contextlib.contextmanager
def server(settings: Sequence[str] = ()) -> Iterator[Server]:
    """A server in a folder that its user may enter."""
    with tempfile.TemporaryDirectory(prefix="trail-postgres-") as name:
        Path(name).chmod(0o755)
        made = Server(Path(name), settings)
        made.start()
        try:
            yield made
        finally:
            made.stop()


def database(url: str, name: str) -> str:
    """The URL of a database that is made anew there."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return url.rpartition("/")[0] + f"/{name}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
