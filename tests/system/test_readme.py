"""The README is true: its commands run, its files exist, its example is the one that is tested."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def commands(language: str = "sh") -> list[list[str]]:
    """The README's blocks of commands."""
    return [block.strip().split("\n") for block in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)]


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Path]:
    """`trail up --data my-trial`, as the README says, in a directory of its own."""
    started = next(line for block in commands() for line in block if line.startswith("trail up"))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    process = subprocess.Popen(
        started.split(),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PATH": PATH, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert "Trialtrail is up" in process.stdout.readline()
    yield tmp_path
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.part11("11.10(k)(1)")
def test_the_commands_of_the_readme_run_in_their_order(trial: Path) -> None:
    block, safety = (block for block in commands() if any(line.startswith("trail submit") for line in block))
    (bundle,) = (block for block in commands() if any(line.startswith("trail export") for line in block))
    (trial / "services").symlink_to(ROOT / "services")
    (draft,) = (line for one in commands("json") for line in one if "safety.event_reported" in line)
    (trial / "adverse-event.ndjson").write_text(draft, "utf-8")
    (people,) = (block for block in commands() if any(line.startswith("trail identity") for line in block))
    (trial / "phrase").write_text("oak ledger violet nine")  # for a terminal, which nobody sits at here
    for line in [*block, *safety, *people, "trail verify my-trial", *bundle]:
        asked = ["--new-passphrase-file", "phrase"] if line.startswith("trail identity grant") else []
        done = subprocess.run(
            [*shlex.split(line), *asked],
            cwd=trial,
            env=os.environ | {"PATH": PATH},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert ["trail verify my-trial"] in commands()


def test_the_two_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert commands()[0] == ["make demo", "make test"]
    for target in ("demo", "test", "check", "bench", "setup"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_readmes_client_is_the_one_that_is_tested() -> None:
    (example,) = re.findall(r"```js\n(.*?)```", README, re.DOTALL)
    assert example == (ROOT / "examples" / "hello.mjs").read_text("utf-8")


@pytest.mark.parametrize(
    "page",
    ["README.md", "CHANGELOG.md", *sorted(str(one.relative_to(ROOT)) for one in (ROOT / "docs").glob("*.md"))],
)
def test_every_link_to_a_file_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if not (ROOT / page).parent.joinpath(link.split("#")[0]).exists()] == []
