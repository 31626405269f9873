"""A time-stamping authority made of the openssl command, served over HTTP on this machine, that can misbehave."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Final, NamedTuple, Self

import pytest
from cryptography.x509 import Certificate, load_pem_x509_certificates

from shared.checkpoint import Checkpoint

FROM, UNTIL = "20200101000000Z", "20890101000000Z"
_TST_INFO: Final = "1.2.840.113549.1.9.16.1.4"
_CONFIGURATION: Final = """
[ca]
default_ca = issuer
[issuer]
database = ./index.txt
new_certs_dir = .
serial = ./serial
default_md = sha256
policy = policy
[policy]
commonName = supplied
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[timestamping]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = critical, timeStamping
[web]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = critical, serverAuth
[tsa]
default_tsa = authority
[authority]
serial = ./stamped
default_policy = 1.2.3.4
digests = sha256
signer_digest = sha256
ess_cert_id_alg = sha256
"""


def openssl(directory: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """What an openssl command writes to its standard output."""
    done = subprocess.run(["openssl", *arguments], cwd=directory, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Certifier:
    """A root certificate (``roots``, a PEM file), and what is signed under it."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("the openssl command is not installed")
        self.directory = directory
        self.roots = directory / "root.pem"
        self._lock = Lock()
        directory.mkdir(parents=True)
        (directory / "openssl.cnf").write_text(_CONFIGURATION)
        (directory / "index.txt").touch()
        (directory / "serial").write_text("01")
        (directory / "stamped").write_text("01")
        self._certify("root", "root", FROM, UNTIL, "-selfsign", "-keyfile", "root.key")
        self.issue("tsa")

    def issue(
        self, name: str, extensions: str = "timestamping", *, by: str = "root", first: str = FROM, last: str = UNTIL
    ) -> None:
        """A certificate of that name, by default for timestamping."""
        self._certify(name, extensions, first, last, "-cert", f"{by}.pem", "-keyfile", f"{by}.key")

    def reply(self, query: bytes, signer: str = "tsa", chain: Sequence[str] = ()) -> bytes:
        """What a good authority answers to a query (a TimeStampResp), or to anything else.

        The certificates of ``chain`` follow the signer's in it.
        """
        with self._lock:
            (self.directory / "query").write_bytes(query)
            (self.directory / "chain.pem").write_bytes(
                b"".join((self.directory / f"{name}.pem").read_bytes() for name in chain)
            )
            by = [
                "-signer",
                f"{signer}.pem",
                "-inkey",
                f"{signer}.key",
                *(["-chain", "chain.pem"] if chain else []),
            ]
            openssl(
                self.directory,
                *["ts", "-reply", "-config", "openssl.cnf", "-queryfile", "query", "-out", "answer", *by],
            )
            return (self.directory / "answer").read_bytes()

    def stamp(self, text: str, signer: str = "tsa", chain: Sequence[str] = ()) -> bytes:
        """A timestamp over a text, unasked."""
        query = ["-query", "-data", "/dev/stdin", "-sha256", "-cert"]
        return self.reply(openssl(self.directory, "ts", *query, stdin=text.encode()), signer, chain)

    def restamp(
        self, answer: bytes, *, at: datetime | None = None, signer: str = "tsa", named: bool = True
    ) -> bytes:
        """The same timestamp as of another time, under any certificate; ``named``: it names its certificate."""
        with self._lock:
            (self.directory / "answer").write_bytes(answer)
            unwrap = ["-config", "openssl.cnf", "-in", "answer", "-token_out", "-out", "token"]
            openssl(self.directory, "ts", "-reply", *unwrap)
            info = openssl(self.directory, "cms", "-verify", "-noverify", "-inform", "DER", "-in", "token")
        if at is not None:
            info = re.sub(rb"\d{14}Z", f"{at:%Y%m%d%H%M%S}Z".encode(), info, count=1)
        token = openssl(
            self.directory,
            *["cms", "-sign", "-binary", "-nodetach", "-outform", "DER", "-econtent_type", _TST_INFO],
            *["-signer", f"{signer}.pem", "-inkey", f"{signer}.key"],
            *(["-cades"] if named else []),
            stdin=info,
        )
        content = bytes.fromhex("3003020100") + token  # PKIStatusInfo: granted
        return b"\x30\x82" + len(content).to_bytes(2, "big") + content

    def _certify(self, name: str, extensions: str, first: str, last: str, *by: str) -> None:
        curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        openssl(self.directory, "genpkey", *curve, "-out", f"{name}.key")
        request = ["-config", "openssl.cnf", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr"]
        openssl(self.directory, "req", "-new", *request)
        between = ["-extensions", extensions, "-startdate", first, "-enddate", last]
        certificate = ["-in", f"{name}.csr", "-out", f"{name}.pem"]
        openssl(self.directory, "ca", "-config", "openssl.cnf", "-batch", "-notext", *by, *between, *certificate)


class World(NamedTuple):
    """Two organisations that certify time-stamping authorities; trials trust the first."""

    trusted: Certifier
    stranger: Certifier

    @classmethod
    def made(cls, directory: Path) -> "World":
        return cls(Certifier(directory / "trusted"), Certifier(directory / "stranger"))


def text_of(size: int) -> str:
    """A checkpoint's text over so many entries."""
    return Checkpoint("trialtrail.example/NCT06027853", size, bytes([size]) * 32).text()


def openssl_accepts(token: bytes, text: str, roots: Path, directory: Path, *more: str) -> bool:
    """Whether ``openssl ts -verify`` takes a token for a timestamp of the text."""
    (directory / "token.tsr").write_bytes(token)
    (directory / "text").write_bytes(text.encode())
    files = ["-in", "token.tsr", "-data", "text", "-CAfile", str(roots.resolve())]
    command = ["openssl", "ts", "-verify", *files, *more]
    return subprocess.run(command, cwd=directory, capture_output=True, check=False).returncode == 0


def roots_of(certifier: Certifier) -> tuple[Certificate, ...]:
    """What a certifier's roots file holds."""
    return tuple(load_pem_x509_certificates(certifier.roots.read_bytes()))


Answer = tuple[int, Iterable[bytes]]


class Tsa:
    """A time-stamping authority on a free port of this machine.

    ``answer`` makes (HTTP status, parts of the body) of a query: set it to one of the methods below, or to
    anything of their kind. ``asked`` counts queries.
    """

    def __init__(self, certifier: Certifier) -> None:
        self.certifier = certifier
        self.asked = 0
        self.answer: Callable[[bytes], Answer] = self.good
        self._closing = Event()
        tsa = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = self.rfile.read(int(self.headers["Content-Length"]))
                tsa.asked += 1
                asked_well = self.headers["Content-Type"] == "application/timestamp-query"
                status, parts = tsa.answer(query) if asked_well else (415, [])
                with suppress(OSError):  # the client may have given up
                    self.send_response(status)
                    self.send_header("Content-Type", "application/timestamp-reply")
                    self.end_headers()
                    for part in parts:
                        self.wfile.write(part)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def good(self, query: bytes) -> Answer:
        return 200, [self.certifier.reply(query)]

    def broken(self, _query: bytes) -> Answer:
        return 500, [b"out of order"]

    def garbage(self, _query: bytes) -> Answer:
        return 200, [b"<html>Please log in to this network</html>"]

    def silent(self, _query: bytes) -> Answer:
        self._closing.wait()
        return 503, []

    def trickling(self, _query: bytes) -> Answer:
        return 200, (b"0" for _ in iter(lambda: self._closing.wait(0.01), True))

    def endless(self, _query: bytes) -> Answer:
        return 200, repeat(bytes(10_000))

    def refusing(self, _query: bytes) -> Answer:
        return 200, [self.certifier.reply(b"no query at all")]

    def other_text(self, query: bytes) -> Answer:
        digest = query.index(b"\x04\x20") + 2  # the imprint: an OCTET STRING of 32 bytes
        return 200, [self.certifier.reply(query[:digest] + bytes(32) + query[digest + 32 :])]
