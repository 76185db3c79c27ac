"""A worker on Kafka: pointers come from ``trade.intents``, results go to ``trade.results``, `advance` calls stay inside."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from uuid import UUID

from dramatiq.brokers.stub import StubBroker

from toolkit.clock import SYSTEM
from toolkit.errors import GatewayError, RunError, ToolkitError
from toolkit.execution.ledger.store import IntentStore
from toolkit.execution.principal import Principal
from toolkit.gateways.envelope import KeyRing
from toolkit.gateways.kafka.dead_letters import KafkaDeadLetters
from toolkit.gateways.kafka.gateway import ExecutionGatewayKafka
from toolkit.gateways.kafka.link import KafkaLink
from toolkit.gateways.kafka.registry import open_codec
from toolkit.gateways.kafka.topics import must_exist
from toolkit.gateways.message_brokers import live_queue
from toolkit.live.engine import Engine
from toolkit.settings import Settings
from toolkit.store.intents import SqlTransaction
from toolkit.store.people.accounts import Accounts
from toolkit.telemetry.logging import get_logger
from workers.actors import AccountActors
from workers.kafka_consumer import Errand, KafkaConsumer
from workers.queues.consuming import AccountWorker
from workers.queues.middleware import CorrelationContext, DeadLetterOnError, MessageMetrics
from workers.roster import Roster

_LOG = get_logger("worker")
GROUP = "seatrial.workers"
_RESULTS_SECONDS = 1.0
_LEFTOVERS_EVERY = 15


class KafkaCarriage:
    """See `workers.carriage.Carriage`.

    `advance`, `reconcile` and `watchdog` calls are made by the process that holds the account, for itself: they need no bus,
    and wait in queues of its memory. What a killed worker had in them is found again by the next look at the runs.

    Raises
    ------
    GatewayError
        When Kafka or the schema registry does not answer, the topics are missing, or a registered schema does not fit.
    """

    def __init__(self, settings: Settings, names: Sequence[str], ring: KeyRing, counting: MessageMetrics) -> None:
        self._link = KafkaLink(settings)
        self._codec = open_codec(settings.schema_registry_url.get_secret_value(), settings.kafka_ca)
        self._codec.prepare()
        self._partitions = must_exist(self._link.admin())
        self._ring = ring
        self._names = tuple(names)
        self.letters = KafkaDeadLetters(self._link, self._codec)
        self.broker = StubBroker(middleware=[CorrelationContext(), counting, DeadLetterOnError()])
        self.consumer: KafkaConsumer | None = None
        self._relay: ExecutionGatewayKafka | None = None
        self._engine: Engine | None = None
        self._roster: Roster | None = None
        self._stop = threading.Event()
        self._teller = threading.Thread(target=self._tell_results, name="kafka-results", daemon=True)

    def gateway(self, engine: Engine, store: IntentStore, principal: Principal) -> ExecutionGatewayKafka:
        """Return a gateway that publishes here."""
        return ExecutionGatewayKafka(
            self._link, self._codec, self._ring, store, principal, SYSTEM, engine.metrics.count
        )

    def bind(self, engine: Engine, roster: Roster, actors: AccountActors) -> None:
        """Learn whom messages are for."""
        self._engine, self._roster = engine, roster
        relay = self._relay = self.gateway(engine, engine.store, engine.service)

        def known(account_id: UUID) -> bool:
            with engine.work(engine.service, write=False) as work:
                return SqlTransaction(work).may_act(account_id, engine.service)

        def settled(account_id: UUID) -> None:
            relay.deliver_results(account_id)

        errand = Errand(known, actors.carry_out, actors.refuse, settled, roster.refresh)
        self.consumer = KafkaConsumer(
            self._link,
            self._codec,
            self.letters,
            self._ring,
            group_of(roster, self._names),
            self._partitions,
            errand,
            engine.now,
            engine.metrics,
        )

    def wants(self, account_id: UUID) -> bool:
        """Whether the account's partition is this worker's."""
        return self.consumer is not None and self.consumer.wants(account_id)

    def start(self) -> None:
        """Join the group."""
        if self.consumer is not None:
            self.consumer.start()
        self._teller.start()

    def join(self, account_id: UUID, worker: AccountWorker) -> None:
        """Carry out the account's pointers, and its `advance` calls."""
        if self.consumer is not None:
            self.consumer.join(account_id)
        worker.attach(live_queue(account_id))

    def leave(self, account_id: UUID, worker: AccountWorker) -> None:
        """Carry out neither; what came of the last ones is told."""
        if self.consumer is not None:
            self.consumer.leave(account_id)
        worker.detach(live_queue(account_id))
        self._tell_of(account_id)

    def trouble(self) -> str:
        """Return what keeps Kafka from answering."""
        try:
            self._link.ping()
        except GatewayError as error:
            return str(error)
        return "" if self.consumer is None or self.consumer.alive() else "the consumer has ended"

    def stop(self) -> None:
        """Leave the group; what is being executed is finished."""
        if self.consumer is not None:
            self.consumer.stop()
        self._stop.set()
        if self._teller.ident is not None:
            self._teller.join(10)

    def close(self) -> None:
        """Send what is under way and close."""
        self._link.close()

    def _tell_results(self) -> None:
        looks = 0
        while not self._stop.wait(_RESULTS_SECONDS):
            try:
                accounts = [] if self._roster is None else list(self._roster.serving())
                if looks % _LEFTOVERS_EVERY == 0:
                    accounts += self._moved_away()
            except Exception as error:  # noqa: BLE001 - the database is away, in its driver's words: the next look asks again
                _LOG.info("results_later", error=repr(error)[:300])
                continue
            for account in accounts:
                self._tell_of(account)
            looks += 1

    def _moved_away(self) -> list[UUID]:
        """Accounts of other gateways by now: what came of their last intents on Kafka may still be in the outbox."""
        if self._engine is None:
            return []
        with self._engine.work(self._engine.service, write=False) as work:
            found = Accounts(work.connection, self._engine.service).all()
        return [account.account_id for account in found if account.gateway != "kafka"]

    def _tell_of(self, account_id: UUID) -> None:
        try:
            if self._relay is not None:
                self._relay.deliver_results(account_id)
        except (ToolkitError, OSError) as error:
            _LOG.info("results_later", error=str(error))


def group_of(roster: Roster, names: Sequence[str]) -> str:
    """Return the consumer group of workers that serve these accounts: its members share them, so all must serve the same."""
    if not names:
        return GROUP
    ids = sorted(str(account) for account in roster.named())
    if not ids:
        raise RunError("a worker on Kafka that was told accounts must be granted them")
    return f"{GROUP}.{hashlib.sha256(' '.join(ids).encode()).hexdigest()[:12]}"


__all__ = ["KafkaCarriage", "group_of"]
