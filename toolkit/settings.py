"""Settings of one process: read once from SEATRIAL_* variables or a ``.env`` file, then frozen."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

GatewayName = Literal["local", "redis", "rabbitmq", "kafka"]


def _default_home() -> Path:
    from platformdirs import user_data_path

    return user_data_path("seatrial", appauthor=False)


class Settings(BaseSettings):
    """All that a process may be told from outside.

    Attributes
    ----------
    home
        Folder for the embedded database, the paper venues' journals and stored bars.
    database_url
        SQLAlchemy URL. Empty means SQLite in ``home``.
    gateway
        Seeds the gateway of a newly registered account; afterwards the account's row decides.
    kafka_bootstrap, kafka_security, kafka_sasl_mechanism, kafka_username, kafka_password, kafka_ca
        Where Kafka is and how to log in; ``kafka_ca`` is the file of the authority that its certificates come from.
    schema_registry_url
        Confluent's schema registry API, with user and password inside; ``mock://NAME`` keeps one in the process.
    lease_seconds
        How long a worker owns an account without renewing.
    max_quote_age_seconds
        A quote older than this is refused before a send.
    quote_interval_seconds
        How often a live run polls the quote between bars.
    advance_offset_seconds
        How long after a bar's expected close a worker looks for it.
    outbox_limit
        How many of an account's pointers may wait for its gateway before further entries expire unsent.
    metrics_address, metrics_port
        Where a worker answers ``/metrics``, ``/healthz`` and ``/readyz``; port 0: nowhere.
    metrics_token
        Asked of every reader of those pages when set; without it only this host may read.
    alert_urls
        Who is told of alerts: addresses that Apprise knows, separated by spaces.
    alert_unknown_seconds, alert_stale_seconds, alert_exit_seconds, alert_drift_percent
        From when an UNKNOWN intent, a silent run, an exit not carried out, a profit gap to the model is an alert.
    heartbeat_url, heartbeat_seconds
        An outside address that is called that often and raises the alarm when the calls stop.
    watch_seconds
        How often the watchdog looks.
    retention_days
        How long bars that runs saw, and what they say again and again, are kept; 0 keeps them for ever.
    """

    model_config = SettingsConfigDict(env_prefix="SEATRIAL_", env_file=".env", extra="ignore", frozen=True)

    home: Path = Field(default_factory=_default_home)
    database_url: SecretStr = SecretStr("")
    gateway: GatewayName = "local"
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    rabbitmq_url: SecretStr = SecretStr("amqp://127.0.0.1:5672/")
    kafka_bootstrap: str = ""
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    kafka_username: str = ""
    kafka_password: SecretStr = SecretStr("")
    kafka_ca: str = ""
    schema_registry_url: SecretStr = SecretStr("")
    signing_key: SecretStr = SecretStr("")
    lease_seconds: float = Field(default=30.0, gt=0)
    max_quote_age_seconds: float = Field(default=10.0, gt=0)
    quote_interval_seconds: float = Field(default=1.0, gt=0, le=2.0)
    advance_offset_seconds: float = Field(default=0.2, ge=0, le=60)
    outbox_limit: int = Field(default=500, ge=1)
    metrics_address: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65535)
    metrics_token: SecretStr = SecretStr("")
    alert_urls: SecretStr = SecretStr("")
    alert_unknown_seconds: float = Field(default=60.0, gt=0)
    alert_stale_seconds: float = Field(default=120.0, gt=0)
    alert_exit_seconds: float = Field(default=60.0, gt=0)
    alert_drift_percent: Decimal = Field(default=Decimal("0.5"), ge=0)
    heartbeat_url: SecretStr = SecretStr("")
    heartbeat_seconds: float = Field(default=60.0, gt=0)
    watch_seconds: float = Field(default=15.0, gt=0)
    retention_days: int = Field(default=0, ge=0)
    log_level: str = "INFO"

    @property
    def effective_database_url(self) -> str:
        """The database URL in use; with its password, so never log it (see ``redacted_url``)."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.home / 'seatrial.db'}"


def redacted_url(url: str) -> str:
    """Return a URL that is safe to print: its password, if any, is replaced by ``***``."""
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(url)
    if parts.password is None:
        return url
    user = parts.username or ""
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit(parts._replace(netloc=f"{user}:***@{host}{port}"))
