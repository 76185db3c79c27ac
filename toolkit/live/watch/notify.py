"""Telling people: by Apprise, each cause once and never a flood, whichever of the processes finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol
from urllib import request

from toolkit.errors import BadInput, MissingPackage, must_be
from toolkit.live.engine import Engine
from toolkit.live.watch.alerts import Alert, AlertLimits
from toolkit.settings import Settings
from toolkit.store.upkeep.alerts import claim_alert, give_back, put_alert, told_at, told_since


class Notifier(Protocol):
    """Carries an alert to people; False when it did not arrive."""

    def notify(self, alert: Alert) -> bool:
        """Send one alert."""


class AppriseNotifier:
    """Sends by Apprise: e-mail, chat, push or a webhook, one URL each.

    Raises
    ------
    MissingPackage
        When Apprise is not installed.
    BadInput
        When an address is not one that Apprise knows; the address itself is not repeated, it may hold a secret.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        try:
            import apprise
        except ImportError as error:
            raise MissingPackage("alerts need Apprise: pip install 'seatrial[worker]'") from error
        self._send = apprise.Apprise()
        for number, url in enumerate(urls, 1):
            if not self._send.add(url):
                raise BadInput(
                    must_be(
                        f"alert address {number}", "one that Apprise knows", "another", "see apprise's list of URLs"
                    )
                )

    def notify(self, alert: Alert) -> bool:
        """Send one alert."""
        kind = "failure" if alert.level == "error" else "warning"
        return bool(self._send.notify(title=alert.title, body=alert.body, notify_type=kind))


class Nobody:
    """Nobody is to be told: alerts are kept in the database, for the page and ``seatrial alerts``."""

    def notify(self, alert: Alert) -> bool:
        """Answer that nothing was sent."""
        return False


def notifier_of(settings: Settings) -> Notifier:
    """Return who the settings say is to be told."""
    urls = settings.alert_urls.get_secret_value().split()
    return AppriseNotifier(urls) if urls else Nobody()


class AlertDesk:
    """Keeps what was found and tells people: each cause once per ``repeat``, and not more than ``per_hour`` in all.

    What was told stands in the database, so it holds over restarts and for all processes together.
    """

    def __init__(self, engine: Engine, notifier: Notifier, limits: AlertLimits | None = None) -> None:
        self._engine = engine
        self._notifier = notifier
        self._limits = limits or AlertLimits()

    def tell(self, alerts: Iterable[Alert]) -> list[Alert]:
        """Send what is new and within the limits; return what arrived. What did not arrive is tried again next time."""
        return [alert for alert in alerts if self._put(alert) and self._notify(alert)]

    def _put(self, alert: Alert) -> bool:
        """Keep the alert; return whether it is to be sent."""
        with self._engine.work(self._engine.service) as work:
            put_alert(
                work.connection, self._engine.now(), key=alert.key, account_id=alert.account_id, level=alert.level,
                title=alert.title, body=alert.body,
            )  # fmt: skip
            work.commit()
        return not isinstance(self._notifier, Nobody)

    def _notify(self, alert: Alert) -> bool:
        engine, limits = self._engine, self._limits
        now = engine.now()
        with engine.work(engine.service) as work:
            db = work.connection
            sent = told_since(db, now - timedelta(hours=1))
            before = told_at(db, alert.key)
            if sent >= limits.per_hour or not claim_alert(db, alert.key, now, limits.repeat):
                return False
            work.commit()
        if sent == limits.per_hour - 1:
            more = f"(no more alerts for up to an hour: {limits.per_hour} were sent; look at `seatrial alerts`)"
            alert = replace(alert, body=f"{alert.body}\n{more}")
        if self._notifier.notify(alert):
            return True
        with engine.work(engine.service) as work:
            give_back(work.connection, alert.key, before)
            work.commit()
        return False


def dead_mans_heartbeat(url: str, *, opener: Callable[..., Any] = request.urlopen, timeout: float = 5.0) -> bool:
    """Call an outside address that raises the alarm when this stops; return whether it answered.

    Raises
    ------
    BadInput
        When the address is not http or https.
    """
    if not url.startswith(("https://", "http://")):
        raise BadInput(
            must_be("heartbeat address", "an http or https URL", url.split(":", 1)[0], "copy it from the service")
        )
    try:
        with opener(url, timeout=timeout) as answer:
            return 200 <= int(answer.status) < 300
    except OSError:
        return False  # the outside alarm will ring by itself; the caller counts it
