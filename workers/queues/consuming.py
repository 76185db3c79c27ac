"""Dramatiq's worker with queues that come and go: an account's queues are consumed only while this process holds it."""

from __future__ import annotations

import heapq
from typing import Any, cast

import dramatiq
import dramatiq.worker as dramatiq_worker
from dramatiq.broker import MessageProxy
from dramatiq.errors import BrokerConnectionError

# Dramatiq waits 3 s before it connects again and 5 s before it acknowledges again; an account would stand still for that long
# after every restart of its message broker.
_RECONNECT_SECONDS = 0.5


class AccountWorker(dramatiq.Worker):
    """Consumes the queues it was attached to, one message of a queue at a time, and no delay queues: we never delay.

    Parameters
    ----------
    broker
        Ours, see ``workers.queues.message_broker``.
    threads
        Worker threads to begin with.
    """

    def __init__(self, broker: dramatiq.Broker, threads: int) -> None:
        super().__init__(broker, worker_threads=threads)
        # Order within the account, and nothing held back by a process that dies.
        self.queue_prefetch = 1
        self._attached: set[str] = set()
        dramatiq_worker.CONSUMER_RESTART_DELAY_SECS = _RECONNECT_SECONDS
        dramatiq_worker.POST_PROCESS_MESSAGE_RETRY_DELAY_SECS = 1

    def attach(self, queue_name: str) -> None:
        """Begin to consume a queue."""
        self._attached.add(queue_name)
        self.broker.declare_queue(queue_name)  # adds the consumer when the queue is new to this process
        if isinstance(self.consumers.get(queue_name), _Detached):
            del self.consumers[queue_name]
        self._add_consumer(queue_name)

    def detach(self, queue_name: str) -> None:
        """Stop consuming a queue and hand back what was fetched and not begun."""
        self._attached.discard(queue_name)
        consumer = self.consumers.get(queue_name)
        if consumer is None or isinstance(consumer, _Detached):
            return
        consumer.stop()
        consumer.join(self.worker_timeout / 1000 + 5)
        waiting = self._take_back(queue_name)
        self.consumers[queue_name] = cast("dramatiq_worker.ConsumerThread", _Detached(consumer))
        try:
            if consumer.consumer is not None:
                consumer.requeue_messages(waiting)
        except BrokerConnectionError as error:  # the database's outbox points at them again
            self.logger.warning("could not hand back %d messages of %s: %s", len(waiting), queue_name, error)
        consumer.close()

    def grow(self, threads: int) -> None:
        """Have at least this many worker threads."""
        for _ in range(threads - len(self.workers)):
            self._add_worker()

    def _add_consumer(self, queue_name: str, *, delay: bool = False) -> None:
        if not delay and queue_name in self._attached:
            super()._add_consumer(queue_name)

    def _take_back(self, queue_name: str) -> list[MessageProxy]:
        with self.work_queue.mutex:
            items: list[Any] = self.work_queue.queue
            mine = [item for item in items if item.message.queue_name == queue_name]
            items[:] = [item for item in items if item.message.queue_name != queue_name]
            heapq.heapify(items)
            self.work_queue.unfinished_tasks -= len(mine)
        return [item.message for item in mine]


class _Detached:
    """Stands where a consumer was, for the message that was begun before it went."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def post_process_message(self, message: MessageProxy) -> None:
        """Acknowledge where that is still possible; a closed connection has given the message back already."""
        try:
            inner = self._consumer.consumer
            if inner is not None:
                (inner.nack if message.failed else inner.ack)(message)
        except BrokerConnectionError:
            return

    def requeue_messages(self, messages: object) -> None:
        """Nothing is held here."""

    def pause(self) -> None:
        """Nothing runs here."""

    resume = stop = close = pause

    def join(self, timeout: float | None = None) -> None:
        """Nothing runs here."""
