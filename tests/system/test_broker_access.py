"""A broker that tells its users apart: a real nats-server with the configuration made from the log's identities."""

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats
import nkeys
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoServersError

from services.audit.admission import arrival_of
from services.cli.beginning import begin_log
from services.cli.broker_access import server_configuration
from services.cli.broker_tls import ensure_certificate
from services.cli.installation import Installation
from shared.broker import API, Topology, connect, provision
from shared.broker_access import access, write_access
from shared.broker_keys import Credentials, make_seed
from shared.envelope import write_json
from shared.events.base import Role
from shared.identities import Identity
from shared.signing import key_id, pae, verify_event
from shared.words import KeyId, LogIndex, SourceId, TrailError
from tests import node
from tests.site import SITE, Site

TRIAL = "NCT06027853"
TOPOLOGY = Topology(TRIAL)
WHO: dict[str, tuple[str, Role]] = {
    "log": ("service/audit", "log"),
    "root": ("admin/root", "root"),
    "a": ("site/701", "site_system"),
    "b": ("site/702", "site_system"),
    "investigator": ("site/701", "investigator"),
    "monitor": ("sponsor/cra", "monitor"),
    "auditor": ("sponsor/auditor", "auditor"),
    "screening": ("service/screening", "screening"),
    "leaver": ("site/703", "site_system"),
    "stranger": ("site/704", "site_system"),  # has a key, and was never granted
}
SITES = {"monitor": frozenset({"702"})}


@dataclass
class Guarded:
    """The server, and everybody's credentials."""

    home: Installation
    port: int
    process: subprocess.Popen[bytes]
    keys: dict[str, str]
    said: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def credentials(self, who: str) -> Credentials:
        return Credentials(self.home.broker_key_path(who), self.home.broker_ca_path)

    async def client(self, who: str, **options: Any) -> Client:
        """A client as NATS's own library makes it, with nothing of ours but key and certificate."""

        async def heard(error: Exception) -> None:
            self.said.append(str(error))

        found = self.credentials(who)
        return await nats.connect(
            self.url,
            nkeys_seed_str=found.seed,
            tls=found.tls(),
            tls_handshake_first=True,
            error_cb=heard,
            **{"allow_reconnect": False} | options,
        )

    def write(self, *gone: str) -> None:
        identities = [
            Identity(
                KeyId(f"{number:032x}"),
                b"",
                name,
                SourceId(source),
                frozenset({role}),
                LogIndex(0 if name in {"log", "root"} else number),
                sites=frozenset({source[5:]}) if source.startswith("site/") else SITES.get(name),
                broker=None if name in {"log", "root"} else self.keys[name],
                revoked=LogIndex(99) if name in gone else None,
            )
            for number, (name, (source, role)) in enumerate(WHO.items(), 1)
            if name != "stranger"
        ]
        made = access(TRIAL, identities, at=datetime.now(UTC), notary=self.keys["log"], root=self.keys["root"])
        self.home.accounts_path.write_text(write_access(made, 7), "utf-8")

    def reload(self) -> None:
        for _ in range(2):  # as `trail broker reload` does, and for its reason
            self.process.send_signal(signal.SIGHUP)
            time.sleep(0.5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    home = begin_log(folder / "trial")
    ensure_certificate(home)
    keys = {}
    for name in WHO:
        keys[name] = make_seed(home.broker_key_path(name))
    port = free_port()
    config = home.broker_access_path / "nats.conf"
    config.write_text(server_configuration(f"127.0.0.1:{port}", str(folder / "js"), str(home.broker_access_path)))
    made = Guarded(home, port, None, keys)  # type: ignore[arg-type]
    made.write()
    binary = Path(sysconfig.get_path("scripts")) / "nats-server"
    with (folder / "nats.log").open("wb") as log:
        made.process = subprocess.Popen([str(binary), "-c", str(config)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while b"Server is ready" not in (folder / "nats.log").read_bytes():
            assert made.process.poll() is None, (folder / "nats.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        asyncio.run(_provision(made))
        yield made
    finally:
        made.process.terminate()
        made.process.wait(10)


async def _provision(broker: Guarded) -> None:
    """The streams, as the notary declares them, with one sealed entry of each site."""
    client = await connect(broker.url, "notary", broker.credentials("log"))
    js = client.jetstream()
    await provision(js, TOPOLOGY, {"notary": TOPOLOGY.intake, "screening": TOPOLOGY.log})
    for site in ("701", "702"):
        await js.publish(f"log.{TRIAL}.site.{site}.screening.observed", f"of {site}".encode(), stream=TOPOLOGY.log)
    await client.close()


def stored(broker: Guarded) -> dict[str, list[str]]:
    """The subjects of everything in both streams."""

    async def read() -> dict[str, list[str]]:
        client = await connect(broker.url, "notary", broker.credentials("log"))
        found: dict[str, list[str]] = {}
        for stream in (TOPOLOGY.intake, TOPOLOGY.log):
            last = (await client.jetstream().stream_info(stream)).state.last_seq
            found[stream] = [
                (await client.jetstream().get_msg(stream, number)).subject or "" for number in range(1, last + 1)
            ]
        await client.close()
        return found

    return asyncio.run(read())


def try_as(broker: Guarded, who: str, act: Callable[[Client], Awaitable[None]]) -> list[str]:
    """Do something as somebody; what the server said against it."""

    async def run() -> None:
        broker.said.clear()
        client = await broker.client(who)
        await act(client)
        await client.flush()
        await asyncio.sleep(0.2)
        await client.close()

    asyncio.run(run())
    return list(broker.said)


def test_a_site_posts_and_hears_its_receipt_with_any_clients_defaults(broker: Guarded) -> None:
    async def talk() -> str:
        site, notary = await broker.client("a"), await broker.client("log")
        heard = await site.subscribe(TOPOLOGY.receipt_subject(SourceId("site/701")))
        await site.flush()
        done = await site.jetstream().publish(
            f"intake.{TRIAL}.site.701.screening.observed", b"x", stream=TOPOLOGY.intake
        )
        assert done.stream == TOPOLOGY.intake
        await notary.publish(TOPOLOGY.receipt_subject(SourceId("site/701")), b"sealed")
        receipt = await heard.next_msg(timeout=5)
        await site.close()
        await notary.close()
        return receipt.data.decode()

    assert asyncio.run(talk()) == "sealed"


@pytest.mark.part11("11.10(d)", "11.10(g)")
def test_a_site_cannot_publish_as_another(broker: Guarded) -> None:
    before = stored(broker)
    targets = [
        f"intake.{TRIAL}.site.702.screening.observed",
        f"intake.{TRIAL}.admin.root.identity.granted",
        f"intake.{TRIAL}.service.screening.screening.decided",
        f"log.{TRIAL}.site.701.screening.observed",
        f"receipt.{TRIAL}.site.702",
        f"$JS.API.STREAM.DELETE.{TOPOLOGY.log}",
        f"{API}.STREAM.DELETE.{TOPOLOGY.log}",
    ]

    async def act(client: Client) -> None:
        for subject in targets:
            await client.publish(subject, b"forged")

    assert len([one for one in try_as(broker, "a", act) if "permissions violation" in one]) == len(targets)
    assert stored(broker) == before


def test_no_answer_of_the_broker_lands_where_a_site_may_not_publish(broker: Guarded) -> None:
    before = stored(broker)
    own = f"intake.{TRIAL}.site.701.screening.observed"
    elsewhere = [
        f"intake.{TRIAL}.site.702.screening.observed",
        f"log.{TRIAL}.site.702.screening.observed",
        f"receipt.{TRIAL}.site.702",
        f"$JS.API.STREAM.PURGE.{TOPOLOGY.intake}",
    ]

    async def act(client: Client) -> None:
        for reply in elsewhere:
            await client.publish(own, b"x", reply=reply)

    async def listen() -> int:
        other = await broker.client("b")
        subscription = await other.subscribe(TOPOLOGY.receipt_subject(SourceId("site/702")))
        await other.flush()
        await asyncio.to_thread(try_as, broker, "a", act)
        await asyncio.sleep(0.5)
        heard = subscription.pending_msgs
        await other.close()
        return heard

    assert asyncio.run(listen()) == 0
    after = stored(broker)
    assert after[TOPOLOGY.log] == before[TOPOLOGY.log]
    assert after[TOPOLOGY.intake] == before[TOPOLOGY.intake] + [own] * len(elsewhere)


@pytest.mark.part11("11.10(d)")
def test_a_site_cannot_read_from_another(broker: Guarded) -> None:
    everything = [">", f"intake.{TRIAL}.>", f"log.{TRIAL}.>", f"receipt.{TRIAL}.*.*", f"receipt.{TRIAL}.site.702"]
    everything += [f"log.{TRIAL}.site.702.>", "$JS.EVENT.>", "$SYS.>"]

    async def act(client: Client) -> None:
        for subject in everything:
            await client.subscribe(subject)
        for prefix in ("$JS.API", API):
            request = json.dumps({"seq": 2}).encode()
            with pytest.raises(NatsError):
                await client.request(f"{prefix}.STREAM.MSG.GET.{TOPOLOGY.log}", request, timeout=0.5)
            with pytest.raises((NatsError, TimeoutError)):
                await client.jetstream(prefix=prefix, timeout=0.5).pull_subscribe(
                    f"log.{TRIAL}.>", durable="thief", stream=TOPOLOGY.log
                )

    refused = [one for one in try_as(broker, "a", act) if "permissions violation for subscription" in one]
    assert len(refused) == len(everything)


def test_an_inbox_is_heard_by_its_owner_alone(broker: Guarded) -> None:
    async def overhear() -> list[str]:
        thief, victim, heard = await broker.client("b"), await broker.client("a"), []
        subscription = await thief.subscribe("_INBOX.>")
        await thief.flush()
        await victim.jetstream().publish(
            f"intake.{TRIAL}.site.701.screening.observed", b"x", stream=TOPOLOGY.intake
        )
        with pytest.raises(TimeoutError):
            heard.append((await subscription.next_msg(timeout=0.5)).subject)
        await thief.close()
        await victim.close()
        return heard

    assert asyncio.run(overhear()) == []


@pytest.mark.part11("11.10(g)")
def test_an_auditor_reads_the_whole_log_and_cannot_publish(broker: Guarded) -> None:
    before = stored(broker)
    targets = [
        f"intake.{TRIAL}.sponsor.auditor.review.recorded",
        f"intake.{TRIAL}.site.701.screening.observed",
        f"log.{TRIAL}.site.701.screening.observed",
        f"{API}.CONSUMER.CREATE.{TOPOLOGY.log}",
        f"{API}.STREAM.MSG.DELETE.{TOPOLOGY.log}",
    ]

    async def act(client: Client) -> None:
        js = client.jetstream(prefix=API)
        count = (await js.stream_info(TOPOLOGY.log)).state.messages
        read = [(await js.get_msg(TOPOLOGY.log, number)).data for number in range(1, count + 1)]
        assert read == [b"of 701", b"of 702"]
        for subject in targets:
            await client.publish(subject, b"{}")
        # Nor by having what it reads delivered where it may not publish.
        for reply in targets[:3]:
            await client.publish(f"{API}.STREAM.MSG.GET.{TOPOLOGY.log}", b'{"seq": 1}', reply=reply)

    assert len([one for one in try_as(broker, "auditor", act) if "permissions violation" in one]) == len(targets)
    assert stored(broker) == before


def test_who_is_for_some_sites_hears_those_alone(broker: Guarded) -> None:
    async def listen() -> dict[str, list[bytes]]:
        notary, heard = await broker.client("log"), {}
        readers = {who: await broker.client(who) for who in ("monitor", "investigator")}
        subscriptions = {
            "monitor": await readers["monitor"].subscribe(f"log.{TRIAL}.site.702.>"),
            "investigator": await readers["investigator"].subscribe(f"log.{TRIAL}.site.701.>"),
        }
        refused = await readers["monitor"].subscribe(f"log.{TRIAL}.site.701.>")
        for reader in readers.values():
            await reader.flush()
        for site in ("701", "702"):
            await notary.publish(
                f"log.{TRIAL}.site.{site}.x.y", site.encode(), headers={"Nats-Expected-Last-Sequence": "9999"}
            )
        for who, subscription in subscriptions.items():
            heard[who] = [(await subscription.next_msg(timeout=5)).data]
            assert not subscription.pending_msgs
        assert not refused.pending_msgs
        for client in (notary, *readers.values()):
            await client.close()
        return heard

    assert asyncio.run(listen()) == {"monitor": [b"702"], "investigator": [b"701"]}


@pytest.mark.part11("11.10(d)", "11.30")
def test_nobody_is_let_in_without_a_granted_key(broker: Guarded) -> None:
    tls = broker.credentials("a").tls()

    async def come(**how: Any) -> None:
        await nats.connect(broker.url, allow_reconnect=False, connect_timeout=5, **how)

    for how in (
        {},
        {"user": "site", "password": "site"},
        {"token": "x"},
        {"nkeys_seed_str": broker.credentials("stranger").seed},
    ):
        with pytest.raises((NatsError, NoServersError), match=r"(?i)authorization|no servers"):
            asyncio.run(come(tls=tls, tls_handshake_first=True, **how))
    with pytest.raises(TrailError, match="does not let this key in"):
        asyncio.run(connect(broker.url, "stranger", broker.credentials("stranger")))


@pytest.mark.part11("11.30")
def test_nothing_is_said_without_tls_and_no_other_broker_is_taken_for_this_one(
    broker: Guarded, tmp_path: Path
) -> None:
    with socket.create_connection(("127.0.0.1", broker.port), timeout=5) as plain:
        plain.settimeout(2)
        plain.sendall(b"CONNECT {}\r\nPING\r\n")
        try:
            greeting = plain.recv(4096)
        except (TimeoutError, ConnectionResetError):
            greeting = b""
        assert b"INFO" not in greeting  # not even the greeting with the nonce is said
    other = begin_log(tmp_path / "other")
    ensure_certificate(other)
    with pytest.raises(TrailError, match="certificate of another authority"):
        asyncio.run(connect(broker.url, "a", replace(broker.credentials("a"), ca=other.broker_ca_path)))


@pytest.mark.part11("11.10(d)")
def test_whoever_is_revoked_is_cut_off_when_the_server_reads_it_and_the_others_stay(broker: Guarded) -> None:
    async def leave() -> None:
        gone = asyncio.Event()

        async def closed() -> None:
            gone.set()

        leaver = await broker.client("leaver", closed_cb=closed)
        stays = await broker.client("a")
        subject = f"intake.{TRIAL}.site.703.screening.observed"
        await leaver.jetstream().publish(subject, b"x", stream=TOPOLOGY.intake)
        broker.write("leaver")
        await asyncio.to_thread(broker.reload)
        await asyncio.wait_for(gone.wait(), 10)
        assert stays.is_connected
        await stays.jetstream().publish(f"intake.{TRIAL}.site.701.x.y", b"x", stream=TOPOLOGY.intake)
        await stays.close()
        with pytest.raises(TrailError, match="does not let this key in"):
            await connect(broker.url, "leaver", broker.credentials("leaver"))

    try:
        asyncio.run(leave())
    finally:
        broker.write()
        broker.reload()


SCRIPT = """
import { readFileSync } from "node:fs";
import { connect, nkeyAuthenticator } from "@nats-io/transport-node";
import { jetstream } from "@nats-io/jetstream";
const [url, ca, seed, subject, listen] = process.argv.slice(2);
const options = { servers: url, reconnect: false, timeout: 8000 };
if (ca) options.tls = { caFile: ca, handshakeFirst: true };
if (seed) options.authenticator = nkeyAuthenticator(Buffer.from(readFileSync(seed, "utf8").trim()));
const told = { connected: false, published: false, heard: "nothing", closed: "" };
try {
  const broker = await connect(options);
  told.connected = true;
  broker.subscribe(listen, { callback: (error) => { told.heard = error ? error.name : "something"; } });
  await broker.flush();
  try {
    await jetstream(broker, { timeout: 3000 }).publish(subject, "from node");
    told.published = true;
  } catch (error) {
    told.refused = `${error.name}: ${error.message}`;
  }
  if (process.env.WAIT) {
    console.log("waiting");
    await broker.closed();
    told.closed = "cut off";
  } else {
    await new Promise((resolve) => setTimeout(resolve, 300));
    await broker.close();
  }
} catch (error) {
  told.refused = `${error.name}: ${error.message}`;
}
console.log(JSON.stringify(told));
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = node.install(tmp_path_factory.mktemp("node")) / "site.mjs"
    path.write_text(SCRIPT, "utf-8")
    return path


def test_a_client_in_another_language_meets_the_same(broker: Guarded, script: Path) -> None:
    ca = str(broker.home.broker_ca_path)

    def run(who: str, target: str, listen: str, *, authority: str = ca) -> Any:
        seed = str(broker.home.broker_key_path(who)) if who else ""
        command = ["node", str(script), broker.url, authority, seed, target, listen]
        return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)

    own, others = (f"intake.{TRIAL}.site.{site}.screening.observed" for site in ("701", "702"))
    receipts, others_receipts = (f"receipt.{TRIAL}.site.{site}" for site in ("701", "702"))
    before = stored(broker)[TOPOLOGY.intake]
    assert run("a", own, receipts)["published"]
    forged = run("a", others, others_receipts)
    assert (forged["connected"], forged["published"]) == (True, False)
    assert "ermission" in forged["heard"] + forged["refused"]
    audited = run("auditor", own, f"log.{TRIAL}.>")
    assert (audited["connected"], audited["published"]) == (True, False)
    for who, authority in (("", ca), ("stranger", ca), ("a", "")):
        assert not run(who, own, receipts, authority=authority)["connected"], who
    assert stored(broker)[TOPOLOGY.intake] == [*before, own]

    command = ["node", str(script), broker.url, ca, str(broker.home.broker_key_path("leaver"))]
    command += [f"intake.{TRIAL}.site.703.x.y", f"receipt.{TRIAL}.site.703"]
    waiting = subprocess.Popen(command, env=dict(os.environ) | {"WAIT": "1"}, stdout=subprocess.PIPE, text=True)
    try:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "waiting\n"
        broker.write("leaver")
        broker.reload()
        told = json.loads(waiting.communicate(timeout=30)[0])
    finally:
        waiting.kill()
        broker.write()
        broker.reload()
    assert (told["published"], told["closed"]) == (True, "cut off")


def test_what_a_broker_has_signed_to_let_somebody_in_is_no_events_signature(
    broker: Guarded, tmp_path: Path
) -> None:
    """A vicious broker's nonce is the encoding of an event: the answer is of a key that speaks for nobody."""
    site = Site(tmp_path / "site")
    event = {"specversion": "1.0", "id": "0198c5a0-7d5b-7c3e-8a43-1f0c2d3e4f50", "source": SITE, "trial": TRIAL}
    event |= {"type": "trialtrail.screening.withdrawn.v1", "subject": "701-001", "time": "2026-03-02T04:00:00Z"}
    payload = write_json(event | {"sequence": "1", "data": {"on": "2026-03-02"}})
    pair = nkeys.from_seed(bytearray(broker.credentials("a").seed.encode()))
    signature = pair.sign(pae(payload))
    public = base64.b32decode(pair.public_key)[1:33]
    assert verify_event(public, signature, payload)  # the signature itself is good

    subject = f"intake.{TRIAL}.site.701.screening.withdrawn"
    arrival = arrival_of(1000, subject, key_id(public), base64.b64encode(signature).decode(), payload)
    (entry,) = [one for one in site.notary.seal([arrival]).entries if one.body == payload]
    assert not entry.admitted
    assert "has not been granted in this log" in str(entry.header.reason)
