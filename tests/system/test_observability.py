"""A running stack tells how it is: what it serves is what the documents, the alerts and the dashboard speak of."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.cli.beginning import begin_log
from services.cli.broker_access import write_configuration
from services.cli.delivery import line
from services.cli.installation import Installation
from services.cli.stack import Stack
from shared.broker import KEY_HEADER, SIGNATURE_HEADER
from shared.drafts import Draft
from shared.identities import ROOT_SOURCE
from shared.moments import stamp
from shared.outbox import uuid7
from shared.words import SourceId
from tests import postgres
from tests.scenario import SITE, TRIAL, drafts_of
from tests.scrape import PARTS, Scraped, free_address, scrape
from tests.tsa import Certifier, Tsa

ROOT = Path(__file__).parents[2]
OBSERVABILITY = ROOT / "deploy" / "observability"
RULES: list[dict[str, Any]] = yaml.safe_load((OBSERVABILITY / "alerts.yaml").read_text("utf-8"))["groups"][0][
    "rules"
]
DASHBOARD: dict[str, Any] = json.loads((OBSERVABILITY / "dashboard.json").read_text("utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
PAGE = (ROOT / "docs" / "observability.md").read_text("utf-8")
OTHER = SourceId("site/702")
STOCK = {"row", "stat", "timeseries"}
WORDS = {"abs", "and", "changes", "deriv", "histogram_quantile", "increase", "or", "rate", "sum", "time"}
"""What stands in our expressions beside the names of metrics: functions and operators of PromQL."""


@dataclass(frozen=True, slots=True)
class Running:
    """A running stack with everything that can be watched: a witness, tiles, an authority."""

    stack: Stack
    address: str

    def scrape(self, part: str) -> Scraped:
        return scrape(self.address, PARTS.index(part))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("observed")
    address = free_address(len(PARTS))
    home = begin_log(folder / "trial", practice=True)
    certifier = Certifier(folder / "authority")
    with Tsa(certifier) as tsa, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAIL_METRICS", address)
        (home.directory / "tsa-1.pem").write_bytes(certifier.roots.read_bytes())
        authority = {"name": "tsa-1", "url": tsa.url, "roots": "tsa-1.pem"}
        home.timestamping_path.write_text(json.dumps({"every_seconds": 1, "authorities": [authority]}), "utf-8")
        stack = Stack(home)
        try:
            stack.start()
            asyncio.run(post(home, stack.url))
            yield Running(stack, address)
        finally:
            stack.stop()


async def post(home: Installation, url: str) -> None:
    """A whole screening, an event far ahead of its source's sequence, and one that is none."""
    drafts = drafts_of("701-001", datetime.now(UTC).date())
    told = Draft(
        source=OTHER,
        type="screening.registered",
        subject="702-001",
        time=stamp(datetime.now(UTC)),
        data={"sex": "male"},
    )
    async with line(home, url) as connected:
        post = connected.post
        post.put(post.missing_grants([*drafts, told]))
        assert await connected.deliver([ROOT_SOURCE], timeout=60)
        post.put(drafts)
        assert await connected.deliver([SITE], timeout=60)
        key, payload = post.key(OTHER, told.signing_role), told.payload(TRIAL, uuid7(), 5)
        headers = {KEY_HEADER: key.id, SIGNATURE_HEADER: key.sign_event(payload)}
        subject = home.topology.intake_subject(OTHER, "screening.registered")
        await connected.js.publish(subject, payload, stream=home.topology.intake, headers=headers)
        await connected.js.publish(subject, b"no event", stream=home.topology.intake)


def wait_until(running: Running, part: str, name: str, value: float, **labels: str) -> Scraped:
    deadline = time.monotonic() + 40
    while (found := running.scrape(part)).value(name, **labels) != value:
        assert time.monotonic() < deadline, (name, found.value(name, **labels))
        time.sleep(0.2)
    return found


def wait_until_level(running: Running, part: str, name: str, **labels: str) -> Scraped:
    """Wait until a metric of a process is at the size of the log, which decisions may still make grow."""
    deadline = time.monotonic() + 40
    while True:
        size = running.scrape("audit").value("trail_notary_log_entries")
        found = running.scrape(part)
        if found.value(name, **labels) == size == running.scrape("audit").value("trail_notary_log_entries"):
            return found
        assert time.monotonic() < deadline, (name, found.value(name, **labels), size)
        time.sleep(0.2)


def test_the_notary_tells_what_it_has_sealed_and_how_its_outsiders_stand(running: Running) -> None:
    found = wait_until(running, "audit", "trail_notary_sequence_gaps", 1)
    assert found.by("trail_notary_missing_events", "source") == {OTHER: 4}
    found = wait_until(running, "audit", "trail_notary_refused_entries_total", 1, stage="envelope")
    assert found.value("trail_notary_sealed_entries_total", verdict="refused") == 1
    assert found.value("trail_notary_in_trouble") == 0
    assert found.value("trail_notary_broker_connected") == 1
    assert found.value("trail_metrics_unread_parts") == 0
    assert abs(time.time() - (found.value("trail_notary_last_seal_timestamp_seconds") or 0)) < 120
    assert (found.value("trail_notary_seal_duration_seconds_count") or 0) > 1
    found = wait_until(running, "audit", "trail_notary_intake_lag_messages", 0)
    size = found.value("trail_notary_log_entries")
    assert size is not None
    assert size > 30
    assert (found.value("trail_notary_sealed_entries_total", verdict="admitted") or 0) > 30
    for name in ("log_stream_entries", "signed_entries", "cosigned_entries", "published_entries"):
        wait_until_level(running, "audit", f"trail_notary_{name}")
    found = wait_until_level(running, "audit", "trail_notary_stamped_entries", authority="tsa-1")
    now = time.time()
    assert abs(now - (found.value("trail_notary_cosigned_timestamp_seconds") or 0)) < 120
    assert abs(now - (found.value("trail_notary_stamped_timestamp_seconds", authority="tsa-1") or 0)) < 120
    assert found.value("trail_notary_stamping_interval_seconds") == 1
    assert found.by("trail_notary_errand_troubles", "errand") == {"witnesses": 0, "timestamps": 0, "tiles": 0}
    (offset,) = found.by("trail_notary_witness_clock_offset_seconds", "witness").values()
    assert abs(offset) < 5


@pytest.mark.parametrize("part", ["screening", "safety"])
def test_a_decider_tells_what_it_has_decided_and_that_nothing_waits(running: Running, part: str) -> None:
    if part == "screening":
        found = wait_until(running, part, "trail_decider_decisions_total", 1)
    wait_until(running, part, "trail_decider_behind_entries", 0)
    size = running.scrape("audit").value("trail_notary_log_entries")
    found = wait_until(running, part, "trail_decider_outbox_waiting_events", 0)
    decided = found.value("trail_decider_decided_entries")
    assert decided is not None
    assert size is not None
    assert decided >= size > 30
    assert (found.value("trail_decider_decide_duration_seconds_count") or 0) > 1
    assert found.value("trail_decider_broker_connected") == 1
    assert found.value("trail_metrics_unread_parts") == 0


def test_the_witness_tells_how_far_it_has_cosigned(running: Running) -> None:
    found = wait_until_level(running, "witness", "trail_witness_cosigned_entries")
    assert set(found.by("trail_witness_refused_checkpoints", "kind").values()) == {0}


@pytest.fixture
def guarded(tmp_path: Path) -> Installation:
    home = begin_log(tmp_path / "guarded", practice=True)
    write_configuration(home)
    return home


@pytest.fixture
def in_postgresql(tmp_path: Path) -> Iterator[Installation]:
    if postgres.missing():
        pytest.skip(postgres.missing())
    with postgres.server() as server:
        place = postgres.database(server.url, f"watched{os.urandom(4).hex()}")
        yield begin_log(tmp_path / "stored", practice=True, database=place)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["guarded", "in_postgresql"])
def test_all_is_told_where_a_broker_asks_who_we_are_and_where_a_server_keeps_the_stores(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    home: Installation = request.getfixturevalue(kind)
    address = free_address(len(PARTS))
    monkeypatch.setenv("TRAIL_METRICS", address)
    stack = Stack(home)
    try:
        stack.start()
        running = Running(stack, address)
        asyncio.run(post_one(home, stack.url))
        for part in ("screening", "safety"):
            wait_until(running, part, "trail_decider_behind_entries", 0)
            wait_until(running, part, "trail_decider_outbox_waiting_events", 0)
        wait_until_level(running, "audit", "trail_notary_cosigned_entries")
        wait_until(running, "audit", "trail_notary_intake_lag_messages", 0)
        assert [running.scrape(part).value("trail_metrics_unread_parts") for part in PARTS] == [0] * len(PARTS)
    finally:
        stack.stop()


async def post_one(home: Installation, url: str) -> None:
    async with line(home, url) as connected:
        connected.post.put(connected.post.missing_grants(drafts_of("701-001", datetime.now(UTC).date())[:1]))
        assert await connected.deliver([ROOT_SOURCE], timeout=60)


def expressions() -> list[str]:
    """Every expression of the dashboard, with Grafana's own variable as it might be."""
    found = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
    return [expression.replace("$__rate_interval", "5m") for expression in found]


def names_in(expression: str) -> set[str]:
    """The metrics that an expression reads: what is left without labels, ranges, lists of labels and words."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|on|group_left|group_right)\s*\([^)]*\)", " ", expression)
    return set(re.findall(r"[A-Za-z_:][A-Za-z0-9_:]*", bare)) - WORDS


def documented() -> dict[str, tuple[str, set[str]]]:
    """Type and alerts of each metric that the page lists."""
    rows = re.findall(r"^\| `(trail_\w+)` \| (\w+) \| .* \|([^|]*)\|$", PAGE, re.MULTILINE)
    return {name: (kind, set(re.findall(r"Trail\w+", alerts))) for name, kind, alerts in rows}


def served(running: Running) -> dict[str, str]:
    """Name and type of everything of ours that the running services serve."""
    found = {}
    for part in PARTS:
        for family in running.scrape(part).families:
            if family.name.startswith("trail_"):
                found[family.name + ("_total" if family.type == "counter" else "")] = family.type
    return found


def test_the_page_lists_every_metric_that_is_served_and_no_other(running: Running) -> None:
    assert {name: kind for name, (kind, _) in documented().items()} == served(running)


@pytest.mark.parametrize("expression", [*(rule["expr"] for rule in RULES), *expressions()])
def test_what_an_alert_or_a_panel_reads_is_served_with_the_labels_it_asks_for(
    running: Running, expression: str
) -> None:
    samples = [sample for part in PARTS for sample in running.scrape(part).samples]
    there = {sample.name for sample in samples}
    # These have no sample while all is well; that they are served at all, the page's test shows.
    quiet = {"trail_decider_outbox_oldest_timestamp_seconds", "up"}
    names = names_in(expression)
    assert names
    assert names <= there | quiet, names - there - quiet
    labels = {label for sample in samples if sample.name in names for label in sample.labels} | {
        "job",
        "instance",
        "le",
    }
    asked = re.findall(r"[{,]\s*(\w+)\s*=", expression)
    asked += re.findall(r"\w+", " ".join(re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression)))
    assert set(asked) <= labels, expression


def test_the_page_says_which_alert_uses_a_metric() -> None:
    uses: dict[str, set[str]] = {name: set() for name in documented()}
    for rule in RULES:
        for name in names_in(rule["expr"]) - {"up"}:
            uses[name].add(rule["alert"])
    assert {name: alerts for name, (_, alerts) in documented().items()} == uses
    assert "`TrailProcessDown`" in PAGE


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert len(rule["annotations"]["summary"]) < 100
    assert len(rule["annotations"]["description"]) > 80


def test_every_command_that_an_alert_names_is_there() -> None:
    text = " ".join(rule["annotations"]["description"] for rule in RULES)
    commands = set(re.findall(r"`trail ([a-z ]+)`", text))
    assert "doctor" in commands
    for command in commands:
        words = [sys.executable, "-m", "services.cli.app", *command.split(), "--help"]
        assert subprocess.run(words, capture_output=True, check=False).returncode == 0, command


def test_the_rules_have_names_of_their_own() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names) >= 10


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    return found


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=OBSERVABILITY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_reads_the_example_and_each_alert_fires_when_it_should_and_only_then(promtool: str) -> None:
    run(promtool, "check", "config", "prometheus.yaml")
    run(promtool, "test", "rules", "alerts_test.yaml")
    tried = set(re.findall(r'alertname="(\w+)"', (OBSERVABILITY / "alerts_test.yaml").read_text("utf-8")))
    assert tried == {rule["alert"] for rule in RULES}


def test_prometheus_reads_every_expression_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"panel:{at}", "expr": expression} for at, expression in enumerate(expressions())]
    assert len(rules) > 30
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")
    run(promtool, "check", "rules", str(path))


def test_the_dashboard_is_one_that_any_grafana_can_import() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert {panel["type"] for panel in PANELS} <= STOCK
    assert {one["id"] for one in DASHBOARD["__requires"] if one["type"] == "panel"} == STOCK - {"row"}
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    shown = [panel for panel in PANELS if panel["type"] != "row"]
    sources = [part["datasource"] for panel in shown for part in (panel, *panel["targets"])]
    assert all(source == {"type": "prometheus", "uid": f"${{{variable['name']}}}"} for source in sources)
    boxes = [panel["gridPos"] for panel in PANELS]
    for at, one in enumerate(boxes):
        assert 0 <= one["x"] <= one["x"] + one["w"] <= 24
        for other in boxes[at + 1 :]:
            beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"], (
                "one upon another"
            )


def test_the_example_scrapes_what_trail_up_serves() -> None:
    example = yaml.safe_load((OBSERVABILITY / "prometheus.yaml").read_text("utf-8"))
    jobs = {one["job_name"]: one["static_configs"][0]["targets"][0] for one in example["scrape_configs"]}
    ports = dict(zip(("trail-notary", "trail-screening", "trail-safety", "trail-witness"), range(4), strict=True))
    assert jobs == {job: f"127.0.0.1:{9464 + by}" for job, by in ports.items()}
    assert "TRAIL_METRICS=127.0.0.1:9464 trail up" in PAGE
