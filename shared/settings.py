"""How a service is configured: environment variables beginning with ``TRAIL_``."""

import json
from pathlib import Path
from typing import Any

from pydantic import model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.words import TrailError


class ServiceSettings(BaseSettings):
    """What every service needs to know.

    ``data`` is the service's own directory; ``key`` its private key's file; ``log_key`` the log's public key
    as a C2SP vkey, which every reader checks seals with. Where ``home`` names the trial's data directory, its
    ``trial.json`` gives ``trial`` and ``log_key``: a container is configured before its log begins.
    """

    model_config = SettingsConfigDict(env_prefix="TRAIL_")

    trial: str
    broker: str
    data: Path
    key: Path
    log_key: str = ""
    home: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_the_data_directory_says(cls, given: dict[str, Any]) -> dict[str, Any]:
        if "home" not in given:
            return given
        path = Path(given["home"]) / "trial.json"
        try:
            known = json.loads(path.read_text("utf-8"))
            return {"trial": known["trial"], "log_key": known["log_key"]} | given
        except (OSError, ValueError, KeyError, TypeError):
            raise TrailError(
                f"{path} cannot be read; begin the log with `trail init --data {path.parent}`"
            ) from None
