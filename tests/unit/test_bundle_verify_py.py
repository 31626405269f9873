"""verify.py as an inspector runs it: one file, any Python from 3.8 on, nothing but the bundle."""

import ast
import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.console.bundle import verify
from services.console.bundle.export import export
from services.console.bundle.source import Evidence
from shared.note import NoteKey
from shared.policy import Policy
from tests.evidence import NEXT_KEY, Case, Unpacked, Writer, case, covered, packed, unpacked
from tests.notary import LOG_KEY, ORIGIN, OTHER_SITE, REGISTERED, STRANGER, TRIAL, Office

SCRIPT = Path(verify.__file__)
PAGE = SCRIPT.with_suffix(".html")
NETWORK = {"asyncio", "ftplib", "http", "smtplib", "socket", "ssl", "urllib", "xmlrpc"}
STRANGER_KEY = NoteKey(ORIGIN, STRANGER.public)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case(tmp_path_factory.mktemp("sealed"))


@pytest.fixture(scope="module")
def bundle(sealed: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sealed.bundle(tmp_path_factory.mktemp("bundle") / "bundle.zip", "site")


def pythons() -> list[str]:
    """Every Python from 3.8 on that is at hand, this one included."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    names = [f"python3.{minor}" for minor in range(8, 20)]
    paths = [
        path for name in names for path in (shutil.which(name), *map(str, pyenv.glob(f"*/bin/{name}"))) if path
    ]
    works = [
        path for path in paths if not subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode
    ]
    return [sys.executable, *works]


def run(
    *arguments: object, script: Path = SCRIPT, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    """verify.py without this project's packages in reach."""
    command = [python, "-I", str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, cwd="/")
    assert "Traceback" not in done.stderr + done.stdout
    return done


def unpack(files: Unpacked, directory: Path) -> Path:
    for name, data in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    return directory


def test_it_imports_nothing_but_the_standard_library_and_nothing_that_can_reach_a_network() -> None:
    tree = ast.parse(SCRIPT.read_text("utf-8"), feature_version=(3, 8))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names
    assert not imported & NETWORK


@pytest.mark.parametrize("python", pythons())
def test_it_runs_under_every_python_at_hand(bundle: Path, python: str) -> None:
    done = run(bundle, python=python)
    assert (done.returncode, done.stderr) == (0, "")
    assert "THIS BUNDLE HOLDS." in done.stdout


def test_it_checks_the_unpacked_bundle_that_it_lies_in(bundle: Path, tmp_path: Path) -> None:
    directory = unpack(unpacked(bundle), tmp_path / "unpacked")
    (directory / ".DS_Store").write_text("what a desktop leaves behind is nobody's evidence")
    assert run(script=directory / "verify.py").returncode == 0
    entry = sorted((directory / "entries").iterdir())[3]
    entry.write_bytes(entry.read_bytes() + b" ")
    done = run(script=directory / "verify.py")
    assert done.returncode == 1
    assert f"THIS BUNDLE DOES NOT HOLD: entries/{entry.name} is not as manifest.json names it." in done.stdout


def test_it_says_whose_keys_it_went_by(bundle: Path, sealed: Case, tmp_path: Path) -> None:
    of_the_bundle = run(bundle).stdout
    assert "AS THE BUNDLE SAYS: whoever makes up a log makes up its key as well" in of_the_bundle
    assert NEXT_KEY.vkey() in of_the_bundle
    given = run("--log-key", LOG_KEY.vkey(), bundle)
    assert given.returncode == 0
    assert "The log's key, as you gave it" in given.stdout
    assert "AS THE BUNDLE SAYS" not in given.stdout
    assert "The witnesses' keys are those in the bundle" in given.stdout
    (tmp_path / "policy").write_bytes(unpacked(bundle)["policy"])
    own = run("--policy", tmp_path / "policy", bundle).stdout
    assert "THIS BUNDLE HOLDS." in own
    assert "those in the bundle" not in own
    stranger = run("--log-key", STRANGER_KEY.vkey(), bundle)
    assert stranger.returncode == 1
    assert "not the one that you gave" in stranger.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--log-key", "nonsense"], "'nonsense' is not a log's key"),
        (["--log-key", "a+00000000+AAAA"], "is not a log's key"),
        (["--policy", "/nowhere/at/all"], "No such file"),
        (["--policy", os.devnull], "the policy has no quorum line"),
    ],
)
def test_a_key_or_policy_that_is_none_gets_a_sentence(bundle: Path, arguments: list[str], told: str) -> None:
    done = run(*arguments, bundle)
    assert done.returncode == 1
    assert told in done.stdout


def test_what_is_no_bundle_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("not a zip")
    for path in (tmp_path / "text.zip", tmp_path / "absent.zip", tmp_path):
        done = run(path)
        assert done.returncode == 1
        assert "THIS BUNDLE DOES NOT HOLD: " in done.stdout


def test_nothing_in_a_bundle_commands_the_terminal(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "loud.zip"
    path.write_bytes(packed(unpacked(bundle) | {"\x1b[2J\x1b]0;owned\x07": b""}))
    done = run(path)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout


def test_a_file_that_unpacks_without_end_is_refused(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "LARGEST", 1 << 20)
    path = tmp_path / "bomb.zip"
    path.write_bytes(packed(covered(unpacked(bundle) | {"policy": bytes(3 << 20)})))
    with pytest.raises(verify.Broken, match="policy is larger than it can be"):
        verify.Check(verify.Files(path), None)


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of so many entries that the signatures are shared out among processes."""
    directory = tmp_path_factory.mktemp("larger")
    office = Office.founded(directory)
    office.register()
    office.post("screening.registered", REGISTERED, key=OTHER_SITE, subject="702-001")
    writer = Writer(office)
    for _ in range(6):
        writer.many(200)
    evidence = Evidence(TRIAL, office.notary.log, office.notary.checkpoints, Policy((LOG_KEY,), {}, {}))
    export(directory / "larger.zip", evidence)
    return directory / "larger.zip"


def test_a_large_bundle_is_checked_by_several_processes_to_the_same_end(larger: Path, tmp_path: Path) -> None:
    assert run(larger).returncode == 0
    files = unpacked(larger)
    entries = files["tile/entries/003"]
    at = entries.rindex(b'"value":') + 8
    files["tile/entries/003"] = entries[:at] + bytes([entries[at] ^ 1]) + entries[at + 1 :]
    (tmp_path / "changed.zip").write_bytes(packed(covered(files)))
    done = run(tmp_path / "changed.zip")
    assert done.returncode == 1
    assert "entry 1023 is admitted, but its signature is not that of key" in done.stdout


def test_the_page_runs_its_own_script_and_style_and_nothing_else() -> None:
    """To make the hashes again: base64 of the SHA-256 of what stands between the tags."""
    page = PAGE.read_text("utf-8")
    (policy,) = re.findall('http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    hashes = {}
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes[tag] = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'"
    )
    assert not re.findall(r"(?:src|href)\s*=|innerHTML|document\.write|eval\(|fetch\(|XMLHttp|import\(", page)
