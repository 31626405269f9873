"""How a service is configured: environment variables beginning with ``TRAIL_``."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """What every service needs to know.

    ``data`` is the service's own directory; ``key`` its private key's file; ``log_key`` the log's public key
    as a C2SP vkey, which every reader checks seals with.
    """

    model_config = SettingsConfigDict(env_prefix="TRAIL_")

    trial: str
    broker: str
    data: Path
    key: Path
    log_key: str = ""
