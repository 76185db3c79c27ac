"""``seatrial kafka``: topics and schemas, and what the topics remember."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from toolkit.cli.console import AsJson, Home, engine_of, out, settings_for
from toolkit.errors import BadInput, must_be

kafka_app = typer.Typer(help="Kafka: topics and schemas, and what the topics remember.", no_args_is_help=True)


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


@kafka_app.command("replay")
def replay(
    since: Annotated[str, typer.Option("--from", help="First moment, ISO 8601 with its zone: 2026-11-25T08:00Z.")],
    until: Annotated[str, typer.Option("--to", help="Behind the last moment; all there is when left out.")] = "",
    account: Annotated[str, typer.Option(help="Only this account; all you may see when left out.")] = "",
    as_: Annotated[
        str, typer.Option("--as", help="telemetry: counts, trades and metrics; shadow: a shadow run of each run.")
    ] = "telemetry",
    metrics: Annotated[
        Path | None, typer.Option(help="Write the rebuilt metrics here, as Prometheus reads them.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Read what the topics remember of a span of time; nothing is executed, and no offset is committed."""
    from toolkit.gateways.envelope import KeyRing
    from toolkit.gateways.kafka.link import KafkaLink
    from toolkit.gateways.kafka.registry import open_codec
    from toolkit.live.outside import kafka_replay
    from toolkit.store.people.accounts import Accounts

    if as_ not in ("telemetry", "shadow"):
        raise BadInput(must_be("--as", "telemetry or shadow", repr(as_), "spell it as listed"))
    begin, end = _moment("--from", since), _moment("--to", until) if until else None
    with engine_of(home) as engine:
        settings = engine.settings
        ring = KeyRing.parse(settings.signing_key.get_secret_value())
        codec = open_codec(settings.schema_registry_url.get_secret_value(), settings.kafka_ca)
        with engine.work(write=False) as work:
            known = Accounts(work.connection, engine.principal)
            chosen = [known.find(account)] if account else known.all()
        ids = {one.account_id for one in chosen}
        link = KafkaLink(settings)
        try:
            history = kafka_replay.read_history(link, codec, ring, ids, since=begin, until=end)
        finally:
            link.close()
        runs = kafka_replay.rebuild_runs(history)
        shadows = kafka_replay.redrive_shadow(engine, engine.principal, history) if as_ == "shadow" else []
    if metrics is not None:
        metrics.write_text(kafka_replay.rebuild_metrics(history).exposition(), encoding="utf-8")
    table = Table(title=f"what Kafka remembers from {begin.isoformat()}", title_justify="left")
    for name in ("run", "intents", "left", "trades", "net", "last (UTC)"):
        table.add_column(name)
    for run in runs:
        left = ", ".join(f"{count} {state}" for state, count in run.by_state.items())
        when = f"{run.last_at:%Y-%m-%d %H:%M:%S}" if run.last_at else ""
        table.add_row(run.live_run_id or "no run", str(run.intents), left, str(run.trades), f"{run.net:,}", when)
    out.print(table)
    for shadow in shadows:
        out.print(f"shadow run {shadow.live_run_id}: {shadow.signals_count} signals, nothing was sent", markup=False)
    out.print(
        f"{len(history.snapshots):,} intents, {len(history.results):,} results; {history.repeated:,} repeated and "
        f"{history.refused:,} refused messages were left out; nothing was executed",
        markup=False,
        soft_wrap=True,
    )
    if as_json:
        facts = {
            "intents": len(history.snapshots),
            "results": len(history.results),
            "repeated": history.repeated,
            "refused": history.refused,
            "runs": {run.live_run_id: {**run.by_state, "trades": run.trades, "net": str(run.net)} for run in runs},
            "shadows": [str(shadow.live_run_id) for shadow in shadows],
        }
        typer.echo(json.dumps(facts))


def _moment(name: str, text: str) -> datetime:
    remedy = "write it as 2026-11-25T08:00Z"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(must_be(name, "a moment in ISO 8601", repr(text), remedy)) from error
    if moment.tzinfo is None:
        raise BadInput(must_be(name, "a moment with its zone", repr(text), remedy))
    return moment


__all__ = ["kafka_app"]
