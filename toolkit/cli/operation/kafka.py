"""``seatrial kafka``: making topics and schemas."""

from __future__ import annotations

from typing import Annotated

import typer

from toolkit.cli.console import Home, out, settings_for

kafka_app = typer.Typer(help="Kafka: topics and schemas.", no_args_is_help=True)


@kafka_app.command("setup")
def setup(
    home: Home = None,
    partitions: Annotated[int, typer.Option(help="Of each topic; as many workers can share the accounts.", min=1)] = 12,
    replication: Annotated[int, typer.Option(help="Copies of each message; 1 on a single broker.", min=1)] = 3,
) -> None:
    """Make the topics that are missing and register the schemas; run it once, with a user who may do so."""
    from toolkit.gateways.kafka.link import KafkaLink
    from toolkit.gateways.kafka.registry import open_codec
    from toolkit.gateways.kafka.schemas import subject_of
    from toolkit.gateways.kafka.topics import create_topics, must_exist, plan, topics_of

    settings = settings_for(home)
    codec = open_codec(settings.schema_registry_url.get_secret_value(), settings.kafka_ca)
    link = KafkaLink(settings)
    made = create_topics(link.admin(), plan(partitions, replication))
    must_exist(link.admin())
    there = topics_of(link.admin())
    for topic in plan(partitions, replication):
        said = "made" if topic.name in made else "was there"
        out.print(f"{topic.name:<20} {there.get(topic.name, topic.partitions)} partitions, {said}", markup=False)
    for name, schema_id in codec.prepare().items():
        out.print(f"{subject_of(name)} schema {schema_id}", markup=False, soft_wrap=True)


__all__ = ["kafka_app"]
