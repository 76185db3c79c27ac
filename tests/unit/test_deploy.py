"""compose.yaml and what it mounts: complete, closed to others, and speaking of metrics and pages that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolkit.telemetry.metrics import metric_names

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]


def names_in(expression: str) -> set[str]:
    """Return the metric names of a PromQL expression."""
    return set(re.findall(r"\b(?:seatrial_\w+|up)\b", expression))


def test_compose_has_every_service_and_opens_loopback_ports_only() -> None:
    """Message brokers, database, worker, page, Prometheus and Grafana; nothing listens for the network."""
    services = COMPOSE["services"]
    wanted = {"redis", "rabbitmq", "postgres", "worker", "worker-rabbitmq", "panel", "prometheus", "grafana"}
    assert set(services) == wanted | {"kafka", "schema-registry", "worker-kafka"}
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert service["restart"] == "unless-stopped", name
    started = {
        profile: [n for n, s in services.items() if profile in s.get("profiles", [profile])] for profile in ("redis",)
    }
    assert {"redis", "postgres", "worker", "panel", "prometheus", "grafana"} == set(started["redis"])


def test_compose_holds_no_secret() -> None:
    """Every value that is a password, a key or a token comes from the environment, and is asked for."""
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    for name, service in COMPOSE["services"].items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASS|KEY|TOKEN|SECRET", key):
                assert re.fullmatch(r"\$\{SEATRIAL_\w+:\?set it\}", value), f"{name} {key}"
    for url in re.findall(r"\w+://\S+:(\S+)@", text):
        assert re.fullmatch(r"\$\{SEATRIAL_\w+:\?set", url) or url.endswith("}"), url


def test_every_file_that_compose_names_is_there() -> None:
    """Mounted folders, the Dockerfile and its two targets."""
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], (
                f"{name} {volume}"
            )
        build = service.get("build")
        if build:
            stages = re.findall(r"^FROM .* AS (\w+)$", (ROOT / build["dockerfile"]).read_text(), re.MULTILINE)
            assert build["target"] in stages
    for folder in ("toolkit", "workers", "panel_app", "constraints.txt"):
        assert f"COPY {folder}" in (DEPLOY / "Dockerfile").read_text() or folder == "constraints.txt"


def test_prometheus_scrapes_what_compose_starts_with_the_token() -> None:
    """Job targets are services of compose at the ports they answer on, and the token comes from a secret."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    assert config["rule_files"] == ["alerts.yml"]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    for job in jobs.values():
        assert job["authorization"]["credentials_file"] == "/run/secrets/metrics_token"
    assert COMPOSE["services"]["prometheus"]["secrets"] == ["metrics_token"]
    (workers,) = jobs["seatrial-worker"]["dns_sd_configs"]
    assert set(workers["names"]) <= set(COMPOSE["services"])
    assert str(workers["port"]) == COMPOSE["services"]["worker"]["environment"]["SEATRIAL_METRICS_PORT"]
    assert jobs["seatrial-panel"]["static_configs"] == [{"targets": ["panel:5006"]}]
    assert "--port=5006" in COMPOSE["services"]["panel"]["command"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_speaks_of_metrics_we_export_and_has_its_runbook(rule: dict[str, Any]) -> None:
    """Its expression names existing metrics only, and its runbook says what it means, where to look and what to do."""
    found = names_in(rule["expr"])
    assert found
    assert found <= metric_names() | {"up"}
    page = (ROOT / rule["annotations"]["runbook"]).read_text(encoding="utf-8")
    assert page.startswith(f"# {rule['alert']}\n")
    assert rule["expr"] in page
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## What it means", "## Where to look", "## What to do",
    ]  # fmt: skip


def test_every_runbook_belongs_to_an_alert() -> None:
    """No page is left over, and the index lists all."""
    pages = {path.stem for path in (ROOT / "docs" / "runbooks").glob("*.md")} - {"README"}
    assert pages == {rule["alert"] for rule in RULES}
    index = (ROOT / "docs" / "runbooks" / "README.md").read_text(encoding="utf-8")
    assert all(f"[{page}]({page}.md)" in index for page in pages)


def test_the_reference_pages_unknown_at_a_minute_and_orphans_at_once() -> None:
    """Page at unknown > 60 s; a foreign position is told."""
    by_name = {rule["alert"]: rule for rule in RULES}
    assert by_name["UnknownIntent"]["expr"].endswith("> 60")
    assert by_name["UnknownIntent"]["labels"]["severity"] == "page"
    assert by_name["ForeignPosition"]["expr"].endswith("> 0")


def test_the_dashboard_shows_metrics_we_export() -> None:
    """Every panel asks for existing metrics of the provisioned data source, and panels do not overlap."""
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "seatrial.json").read_text(encoding="utf-8"))
    source = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())
    uids = {entry["uid"] for entry in source["datasources"]}
    covered: set[str] = set()
    places: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["datasource"]["uid"] in uids
        for target in panel["targets"]:
            found = names_in(target["expr"])
            assert found
            assert found <= metric_names(), panel["title"]
            covered |= found
        box = panel["gridPos"]
        cells = {(box["x"] + dx, box["y"] + dy) for dx in range(box["w"]) for dy in range(box["h"])}
        assert not cells & places
        places |= cells
    plain = {name for name in metric_names() if not name.endswith(("_sum", "_count"))}
    assert plain - covered == set(), "a metric that nobody can see"
