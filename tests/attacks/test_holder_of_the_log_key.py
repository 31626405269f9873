"""Whoever holds the log's key makes a second log, without a fault of its own: who has seen the first one."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from services.audit.checkpoints import Checkpoints
from services.cli.installation import Installation
from shared.checkpoint import Checkpoint, open_checkpoint
from shared.merkle import check_consistency
from shared.words import EvidenceError, TrailError
from tests.attacks.scene import A, Trial, awaited, copied, cosigned, entries, size_of, trail, weighed
from tests.attacks.thief import asked, displaced, garbage, notary_at, resealed, without, without_receipts


def newest(home: Installation) -> Checkpoint:
    """The newest signed checkpoint, its signature verified."""
    store = Checkpoints.at(home.places.checkpoints, read_only=True)
    latest = store.latest()
    store.close()
    assert latest is not None
    return open_checkpoint(latest[1], home.log)


def rewritten(home: Installation, directory: Path, more: int) -> None:
    """The whole log anew, without one of site 702's events, and with garbage behind it."""
    log = without(entries(home), b'"value":61')
    resealed(home, log, directory)
    with notary_at(home, directory) as notary:
        for number in range(more):
            notary.seal([garbage(home, len(log) + number)])


@pytest.mark.parametrize(("more", "kind"), [(1, "fork"), (3, "unproven")])
def test_everything_rewritten_and_signed_with_the_stolen_key(
    home: Installation, tmp_path: Path, more: int, kind: str
) -> None:
    size = len(entries(home))
    rewritten(home, tmp_path / "forged", more)
    displaced(home, tmp_path / "forged", keep_cosignatures=True)
    kept = trail("verify", home.directory)
    assert "the cosignature of witness.example/local on the checkpoint is broken" in kept.text
    displaced(home, tmp_path / "forged", keep_cosignatures=False)
    verified = trail("verify", home.directory)
    assert (kept.code, verified.code) == (1, 1)
    assert "site-702 holds a receipt for another entry" in verified.text
    without_receipts(home)
    elsewhere = trail("verify", home.directory).text
    assert "are under no checkpoint that the policy's quorum, local, has cosigned" in elsewhere
    trial = Trial(home)
    try:
        with pytest.raises(TrailError) as refused:
            trial.stack.start()
        witness = Installation.open(home.directory).local_witness()
        assert witness is not None
        told = httpx.get(f"{witness.url}/forks", trust_env=False).json()["forks"]
    finally:
        trial.stack.stop()
    sentence = {
        "fork": f"has cosigned other {size} entries of this log than this notary signed",
        "unproven": f"has cosigned {size} entries that are not the beginning of this log",
    }
    assert sentence[kind] in str(refused.value)
    assert [one["kind"] for one in told] == [kind]
    both = [open_checkpoint(told[0][name], home.log) for name in ("note", "cosigned")]
    assert both[0] != both[1], "the witness keeps both, each signed with the log's key"


def test_two_auditors_are_shown_two_logs(trial: Trial, tmp_path: Path) -> None:
    true, other = trial.home, copied(trial.home, tmp_path / "other")
    size = len(entries(true))
    resealed(true, entries(true)[:-1], tmp_path / "forged")
    with notary_at(true, tmp_path / "forged") as notary:
        notary.seal([garbage(true, size - 1)])
        with pytest.raises(EvidenceError) as refused:
            asked(true, notary)
    assert f"has cosigned other {size} entries of this log than this notary signed" in str(refused.value)
    displaced(other, tmp_path / "forged", keep_cosignatures=False)
    shown = [copied(home, tmp_path / f"auditor {at}") for at, home in enumerate((true, other))]
    for home in shown:
        without_receipts(home)
    first, second = (trail("verify", home.directory, "--policy", true.policy_path) for home in shown)
    assert (first.code, second.code) == (0, 1)
    assert "are under no checkpoint that the policy's quorum, local, has cosigned" in second.text
    one, two = map(newest, shown)
    with pytest.raises(EvidenceError) as compared:
        check_consistency(one.size, one.root, two.size, two.root, [])
    assert f"two trees of {size} entries have different roots" in str(compared.value)


def test_a_second_notary_on_a_copy(trial: Trial, tmp_path: Path) -> None:
    """Whichever comes first has its entry cosigned; here the copy does, and the true one must stop."""
    copy = copied(trial.home, tmp_path / "copy")
    with notary_at(copy, copy.directory) as second:
        second.seal([garbage(copy, second.intake + 1)])
        asked(trial.home, second)
        size = second.size
    trial.post(weighed(A, 70))
    assert f"has cosigned other {size} entries of this log than this notary signed" in trial.last_words("audit")


def test_a_second_notary_in_the_same_place(trial: Trial) -> None:
    environment = dict(os.environ) | trial.stack._environment("audit")
    command = [sys.executable, "-m", "services.audit.app"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert "another notary is writing the log in" in refused.stderr
    # Where the lock does not hold, as over some networks, the database itself tells.
    (trial.home.places.log.parent / "notary.lock").unlink()
    size = size_of(trial.home)
    second = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert second.stderr is not None
        assert '"event": "ready"' in second.stderr.readline()
        first = trial.stack._processes["audit"]
        posted = 0
        while posted < 50 and first.poll() is None and second.poll() is None:
            assert trial.post(weighed(A, 70 + posted))
            posted += 1
        awaited(lambda: first.poll() is not None or second.poll() is not None)
        assert (first.poll() is None) != (second.poll() is None), "one of them goes on"
        told = trial.last_words("audit") if second.poll() is None else second.stderr.read()
    finally:
        second.terminate()
        second.communicate()
    assert "is in the database already, and not sealed by this notary" in told
    awaited(lambda: cosigned(trial.home) == size_of(trial.home))
    assert trail("verify", trial.home.directory).code == 0
    assert size_of(trial.home) == size + posted
