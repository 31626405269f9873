"""Node with NATS's own client, for what a site in another language meets."""

import shutil
import subprocess
from pathlib import Path

import pytest

_PACKAGES = ("@nats-io/transport-node@3.4.0", "@nats-io/jetstream@3.4.0")


def install(folder: Path) -> Path:
    """Install NATS's packages as the examples say, into a folder of its own; skips where that cannot be done."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node and npm are not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < 20:
        pytest.skip(f"Node {version} is older than 20")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", *_PACKAGES]
    try:
        installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm's registry does not answer")
    if installed.returncode:
        pytest.skip(f"npm cannot install NATS's packages: {installed.stderr[-300:]}")
    return folder
