"""Dead letters on Kafka: a topic in which a letter is removed by a message of its own id without a value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

from toolkit.errors import GatewayError
from toolkit.gateways.envelope import EnvelopeRefused
from toolkit.gateways.kafka.link import KafkaLink, Outgoing
from toolkit.gateways.kafka.registry import Codec, open_codec
from toolkit.gateways.kafka.topics import DEAD_LETTERS
from toolkit.settings import Settings

if TYPE_CHECKING:
    from confluent_kafka import Message

_READ_SECONDS = 30.0
_KEPT_BYTES = 64 * 1024


class KafkaLetter:
    """One dead letter, with what `toolkit.live.outside.dead_letters` asks of a letter of any bus."""

    def __init__(self, message_id: str, message: Message, codec: Codec) -> None:
        packed = cast("list[tuple[str, bytes | None]]", message.headers() or [])
        headers = {name: (value or b"").decode("utf-8", "replace") for name, value in packed}
        self.message_id = message_id
        self.account = headers.get("account", "")
        self.actor_name = headers.get("why", "")
        self.message_timestamp = max(0, int(message.timestamp()[1]))
        self.args: tuple[str, ...] = (_readable(message.value(), codec),)
        self.kwargs: dict[str, Any] = {"from": headers.get("from", ""), "detail": headers.get("detail", "")}


class KafkaDeadLetters:
    """Keeps, lists and removes them.

    Parameters
    ----------
    link, codec
        The process's way to Kafka, and to the schema registry.
    """

    def __init__(self, link: KafkaLink, codec: Codec) -> None:
        self._link = link
        self._codec = codec

    def keep(self, message: Message, why: str, detail: str, account: UUID | None) -> None:
        """Keep a message that was refused or could not be worked on; GatewayError when Kafka does not take it."""
        value = message.value() or b""
        headers = {
            "why": why,
            "detail": detail[:500],
            "account": str(account or ""),
            "from": f"{message.topic()}-{message.partition()}@{message.offset()}",
        }
        packed = tuple((name, text.encode()) for name, text in headers.items())
        # an id of its own: the same bytes kept twice after a crash are two letters, and neither hides the other
        _, failed = self._link.send([Outgoing(DEAD_LETTERS, uuid4().hex.encode(), bytes(value[:_KEPT_BYTES]), packed)])
        if failed:
            raise GatewayError(f"Kafka did not take a dead letter: {failed}")

    def of_account(self, account_id: UUID) -> list[KafkaLetter]:
        """Return an account's letters, oldest first."""
        found: dict[str, KafkaLetter] = {}
        for message in self._read():
            letter_id = (message.key() or b"").decode("utf-8", "replace")
            if message.value() is None:
                found.pop(letter_id, None)
            else:
                found[letter_id] = KafkaLetter(letter_id, message, self._codec)
        return [letter for letter in found.values() if letter.account == str(account_id)]

    def drop(self, message_id: str) -> None:
        """Remove one letter by its id."""
        _, failed = self._link.send([Outgoing(DEAD_LETTERS, message_id.encode(), None)])
        if failed:
            raise GatewayError(f"Kafka did not remove the dead letter: {failed}")

    def close(self) -> None:
        """Close the way to Kafka."""
        self._link.close()

    def _read(self) -> list[Message]:
        from toolkit.gateways.kafka.history import read_topic

        return list(read_topic(self._link, DEAD_LETTERS, seconds=_READ_SECONDS))


class AccountDeadLetters:
    """The letters of one account, asked for as of any other message broker."""

    def __init__(self, letters: KafkaDeadLetters, account_id: UUID) -> None:
        self._letters = letters
        self._account_id = account_id

    def dead_letters(self, _topic: str) -> list[KafkaLetter]:
        """Return the account's letters, oldest first."""
        return self._letters.of_account(self._account_id)

    def drop_dead_letter(self, _topic: str, message_id: str) -> bool:
        """Remove one letter by its id; return whether it was there."""
        there = any(letter.message_id == message_id for letter in self._letters.of_account(self._account_id))
        if there:
            self._letters.drop(message_id)
        return there

    def close(self) -> None:
        """Close the way to Kafka."""
        self._letters.close()


def open_dead_letters(settings: Settings, account_id: UUID) -> AccountDeadLetters:
    """Return the dead letters of an account, with a way to Kafka of their own."""
    codec = open_codec(settings.schema_registry_url.get_secret_value(), settings.kafka_ca)
    return AccountDeadLetters(KafkaDeadLetters(KafkaLink(settings), codec), account_id)


def _readable(value: bytes | None, codec: Codec) -> str:
    """Return the body as JSON where it is one of ours, else its bytes as hex."""
    try:
        return json.dumps(codec.decode(value)[1], default=str)
    except (EnvelopeRefused, GatewayError):
        return (value or b"").hex()


__all__ = ["AccountDeadLetters", "KafkaDeadLetters", "KafkaLetter", "open_dead_letters"]
