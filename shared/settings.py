"""How a service is configured: environment variables beginning with ``TRAIL_``."""

import json
from pathlib import Path
from typing import Any

from pydantic import SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.broker_keys import Credentials
from shared.database import Place, trial_schema
from shared.secrets import read_secret
from shared.signers import load_signer
from shared.signing import Signer
from shared.words import TrailError


class ServiceSettings(BaseSettings):
    """What every service needs to know.

    ``data`` is the service's own directory; ``key`` says where its private key is: a PEM file, or a key in a token
    as a ``pkcs11:`` URI; ``key_pem`` is the text of such a file instead, ``key_passphrase_file`` names the file of
    its passphrase, ``key_pin`` is the token's PIN (docs/keys.md). ``log_key`` is the log's public key as a C2SP
    vkey, which every reader checks seals with. Where ``home`` names the trial's data directory, its ``trial.json``
    gives ``trial`` and ``log_key``: a container is configured before its log begins. ``broker_key``
    (the file of this service's NATS seed) and ``broker_ca`` are given where the broker tells its users apart.
    ``database`` is the URL of a PostgreSQL database, with this service's role; without it the service keeps SQLite
    files in ``data``. The password is where libpq looks for one: a file that ``?passfile=`` or PGPASSFILE names.
    ``metrics`` is the host:port to serve metrics at, nowhere when it is empty.
    """

    model_config = SettingsConfigDict(env_prefix="TRAIL_")

    trial: str
    broker: str
    data: Path
    key: SecretStr
    key_pem: SecretStr | None = None
    key_passphrase_file: Path | None = None
    key_pin: SecretStr | None = None
    log_key: str = ""
    home: Path | None = None
    broker_key: Path | None = None
    broker_ca: Path | None = None
    database: str = ""
    metrics: str = ""

    @property
    def credentials(self) -> Credentials | None:
        """How to get into the broker; None where it asks nobody who he is.

        Raises TrailError when half of it is given.
        """
        if self.broker_key is None and self.broker_ca is None:
            return None
        if self.broker_key is None or self.broker_ca is None:
            raise TrailError("set both TRAIL_BROKER_KEY and TRAIL_BROKER_CA, or neither")
        return Credentials(self.broker_key, self.broker_ca)

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

    @model_validator(mode="before")
    @classmethod
    def _one_key(cls, given: dict[str, Any]) -> dict[str, Any]:
        if "key_pem" not in given:
            return given
        if "key" in given:
            raise TrailError("both TRAIL_KEY and TRAIL_KEY_PEM are set; leave out the one that is not meant")
        return given | {"key": given["key_pem"]}

    def store(self, part: str) -> Place:
        """Where this service keeps a part of the trial."""
        return trial_schema(self.database, self.trial, part) if self.database else self.data / f"{part}.sqlite"

    def signer(self) -> Signer:
        """What signs for this service.

        Raises TrailError when it cannot be opened.
        """
        return load_signer(self.key.get_secret_value(), **self.secrets())

    def secrets(self) -> dict[str, Any]:
        """What opens the key: its passphrase, its token's PIN.

        Raises TrailError when a secret's file cannot be read.
        """
        file, pin = self.key_passphrase_file, self.key_pin
        return {
            "passphrase": None if file is None else read_secret(file),
            "pin": None if pin is None else pin.get_secret_value(),
        }
