"""A platform session in its own process: authenticated, watched, killed when it hangs, never repeating a send."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from toolkit.clock import from_ns
from toolkit.errors import BadInput, PlatformError, PlatformUnavailable, UnknownSymbol
from toolkit.execution.ports import ClientTag, ClosePosition, OpenOrder, OrderType, Outcome
from toolkit.market import Bars, Side, find_instrument, sample_bars
from toolkit.platforms import wire
from toolkit.platforms.agent import Agent
from toolkit.platforms.isolation import AgentPlatform, IsolatedPlatform
from toolkit.platforms.secret_refs import resolve_secret
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.simulation.account import PaperAccount

KEY = bytes(range(32))
TAG = ClientTag("q1" + "B" * 26, 77)
BUY = OpenOrder(TAG, "EURUSD", Side.BUY, OrderType.MARKET, Decimal("0.10"))


@pytest.fixture(scope="module")
def bars() -> Bars:
    """Real bars for a child's replay."""
    return sample_bars("EURUSD", "H1")[:200]


@pytest.fixture
def session(tmp_path: Path, bars: Bars) -> dict[str, Any]:
    """Settings of a MetaTrader session over the double, at the open of bar 100."""
    bars.save(tmp_path / "bars.npz")
    return {
        "kind": "simmt5",
        "path": str(tmp_path / "venue.sqlite"),
        "account": PaperAccount("USD", 10_000).facts(),
        "replays": [str(tmp_path / "bars.npz")],
        "moment": from_ns(int(bars.ts[100])).isoformat(),
    }


@pytest.fixture
def isolated(session: dict[str, Any], tmp_path: Path) -> Iterator[IsolatedPlatform]:
    """A connected session in a child."""
    platform = IsolatedPlatform(session, lock=tmp_path / "account.lock")
    platform.connect()
    yield platform
    platform.close()


def test_mt5_session_in_a_child_answers_like_one_in_process(isolated: IsolatedPlatform, bars: Bars) -> None:
    """Account, facts, quote, bars, orders, book and history come across unchanged."""
    assert isolated.name == "metatrader5"
    assert isolated.instrument("EURUSD") == find_instrument("EURUSD")
    assert isolated.quote("EURUSD").bid == bars.instrument.price(int(bars.bid_open[100]))
    closed = isolated.closed_bars("EURUSD", "H1", None, 10)
    assert closed.ts.tolist() == bars.ts[90:100].tolist()
    assert (closed.ask_high == bars.ask_high[90:100]).all()
    opened = isolated.send(BUY)
    assert opened.outcome is Outcome.DONE
    assert isolated.book().positions[0].tag_text == TAG.text
    closing = isolated.send(ClosePosition(TAG, str(opened.position_id)))
    assert closing.outcome is Outcome.DONE
    now = isolated.now()
    assert [d.entry for d in isolated.history(now - timedelta(days=1), now + timedelta(days=1)).deals] == ["in", "out"]
    with pytest.raises(UnknownSymbol, match="NOSUCH"):
        isolated.instrument("NOSUCH")


def test_mt5_hung_send_is_killed_unknown_then_resolved_while_the_parent_keeps_its_heartbeat(
    session: dict[str, Any], tmp_path: Path
) -> None:
    """A native sleep that holds the child's interpreter lock costs the parent nothing but the answer."""
    platform = IsolatedPlatform(
        {**session, "hang_after": 1, "hang_seconds": 60.0}, lock=tmp_path / "account.lock", send_seconds=1.5
    )
    platform.connect()
    pid = platform.child_pid
    beats: list[float] = []
    done = threading.Event()

    def heart() -> None:
        while not done.wait(0.02):
            beats.append(time.monotonic())

    beating = threading.Thread(target=heart)
    beating.start()
    began = time.monotonic()
    result = platform.send(BUY)
    took = time.monotonic() - began
    done.set()
    beating.join(timeout=5)
    assert (result.outcome, result.code) == (Outcome.UNKNOWN, "HUNG")
    assert 1.4 < took < 4
    assert max(b - a for a, b in pairwise(beats)) < 0.5
    assert pid is not None and platform.child_pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    book = _once_it_is_back(platform)
    assert [p.magic for p in book.positions] == [TAG.magic]  # it had been carried out: our tag tells
    platform.close()


def _once_it_is_back(platform: IsolatedPlatform) -> Any:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            return platform.book()
        except PlatformUnavailable:
            time.sleep(0.1)
    raise AssertionError("the session did not come back")


def test_mt5_restart_after_the_child_was_killed(isolated: IsolatedPlatform) -> None:
    """A read that meets a dead child is unavailable; after the backoff a new child has the same book."""
    isolated.send(BUY)
    before = isolated.book()
    assert isolated.child_pid is not None
    os.kill(isolated.child_pid, signal.SIGKILL)
    with pytest.raises(PlatformUnavailable):
        isolated.book()
    assert isolated.send(BUY).outcome is Outcome.NOT_ACCEPTED  # no session yet: nothing was sent
    assert _once_it_is_back(isolated).positions == before.positions


def test_mt5_restart_waits_longer_after_each_failure(tmp_path: Path) -> None:
    """A session that cannot start is not tried again at once."""
    platform = IsolatedPlatform({"kind": "simmt5", "path": str(tmp_path / "none.sqlite")}, start_seconds=20)
    with pytest.raises(PlatformError, match="account must be given"):
        platform.connect()
    with pytest.raises(PlatformUnavailable, match="being restarted"):
        platform.connect()
    platform.close()


def test_mt5_one_session_per_account_on_a_machine(
    isolated: IsolatedPlatform, session: dict[str, Any], tmp_path: Path
) -> None:
    """A second session of the same account is refused by the lock, whatever its journal."""
    other = IsolatedPlatform({**session, "path": str(tmp_path / "other.sqlite")}, lock=tmp_path / "account.lock")
    with pytest.raises(PlatformError, match="one process only"):
        other.connect()
    other.close()


def test_mt5_no_instruction_is_on_the_command_line(isolated: IsolatedPlatform) -> None:
    """Other users can read a process's arguments: key and settings are not there."""
    arguments = Path(f"/proc/{isolated.child_pid}/cmdline")
    if not arguments.exists():
        pytest.skip("no /proc here")
    assert arguments.read_bytes().split(b"\0")[1:3] == [b"-m", b"toolkit.platforms.agent"]
    assert b"venue.sqlite" not in arguments.read_bytes()


# --- the line ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path) -> Iterator[int]:
    """An agent in a thread, over a paper venue; its port."""
    venue = SimulatedPlatform(tmp_path / "v.sqlite", PaperAccount("USD", 1000), [find_instrument("EURUSD")])
    venue.push_quote("EURUSD", Decimal("1.1"), Decimal("1.1001"), from_ns(1_700_000_000_000_000_000))
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with suppress(OSError):  # the listener is closed when the test is over
            Agent(venue, KEY).serve(listener)

    threading.Thread(target=run, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    venue.close()


def test_agent_serves_a_client_that_knows_the_key(served: int) -> None:
    """A paper session behind an agent is the same platform."""
    remote = AgentPlatform(served, KEY)
    assert remote.connect().balance == Decimal(1000)
    assert remote.send(BUY).outcome is Outcome.DONE
    assert remote.point_value("EURUSD") is None
    assert remote.name == "simulated"
    remote.close()


def test_agent_refuses_another_key_and_serves_on(served: int) -> None:
    """A wrong key ends the handshake on both sides; the next client is served."""
    with pytest.raises(PlatformError, match="must know the key"):
        AgentPlatform(served, bytes(32)).connect()
    good = AgentPlatform(served, KEY)
    assert good.connect().currency == "USD"
    good.close()


def test_agent_does_not_read_a_client_without_the_hello(served: int) -> None:
    """Anything else that connects, a browser for instance, is dropped."""
    with socket.create_connection(("127.0.0.1", served)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.settimeout(5)
        assert dropped(connection)


def dropped(connection: socket.socket) -> bool:
    """Tell whether the other side ended the connection without a word."""
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def open_line(port: int) -> tuple[socket.socket, wire.Line]:
    """Return a raw connection with a good handshake."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    return connection, wire.Line.to_agent(connection, KEY)


def test_agent_drops_a_forged_or_replayed_frame(served: int) -> None:
    """A frame whose code is wrong, or that was seen before, ends the connection unread."""
    connection, line = open_line(served)
    captured: list[bytes] = []
    real = connection.sendall

    class Tap:
        def __getattr__(self, name: str) -> Any:
            return getattr(connection, name)

        def sendall(self, data: bytes) -> None:
            captured.append(data)
            real(data)

    line._socket = Tap()  # type: ignore[assignment]
    line.write({"call": "now"})
    assert "result" in line.read()
    connection.sendall(captured[0])  # the same bytes again
    assert dropped(connection)
    connection.close()
    connection, _ = open_line(served)
    body = json.dumps({"call": "now"}).encode()
    connection.sendall(struct.pack(">I", len(body)) + bytes(32) + body)
    assert dropped(connection)
    connection.close()


@pytest.mark.parametrize("call", ["manual_close", "__class__", "shutdown", "venue", "load_replay", ""])
def test_agent_has_no_other_calls(served: int, call: str) -> None:
    """Only the listed calls can be made, whatever the platform object has."""
    connection, line = open_line(served)
    line.write({"call": call, "arguments": []})
    assert line.read() == {"error": "BadInput", "message": "the agent has no such call"}
    connection.close()


def test_agent_refuses_a_send_nobody_waits_for_any_more(served: int) -> None:
    """An order that reaches the agent after its deadline is not placed."""
    connection, line = open_line(served)
    line.write({"call": "send", "arguments": wire.pack((BUY,)), "not_after": repr(time.monotonic() - 0.01)})
    result = wire.unpack(line.read()["result"])
    assert (result.outcome, result.code) == (Outcome.NOT_ACCEPTED, "TOO_LATE")
    line.write({"call": "book", "arguments": []})
    assert wire.unpack(line.read()["result"]).positions == ()
    connection.close()


@pytest.mark.parametrize(
    "data", [{"$r": ["Popen", {}]}, {"$x": 1}, {"a": 1, "b": 2}, {"$r": ["OpenOrder", {"shell": "x"}]}, 1.5]
)
def test_wire_reads_its_vocabulary_only(data: object) -> None:
    """A record, mark or field outside the list cannot be built."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        wire.unpack(data)


def test_wire_brings_every_record_back(bars: Bars) -> None:
    """Decimals keep their digits, times their zone, bars their prices."""
    order = replace(BUY, limit_price=Decimal("1.10"), expires_at=from_ns(int(bars.ts[3])))
    again = wire.unpack(json.loads(json.dumps(wire.pack((order, bars[:5], find_instrument("EURUSD"))))))
    assert again[0] == order and str(again[0].limit_price) == "1.10"
    assert again[1].fingerprint == bars[:5].fingerprint
    assert again[2] == find_instrument("EURUSD")


def test_agent_key_must_be_long_enough(tmp_path: Path) -> None:
    """A short key is no key."""
    with (
        SimulatedPlatform(tmp_path / "v.sqlite", PaperAccount("USD", 1000)) as venue,
        pytest.raises(BadInput, match="at least 16 bytes"),
    ):
        Agent(venue, b"short")


def test_secret_references_are_resolved_or_refused_without_showing_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables and private files work; an open file, a missing variable and a bare secret are refused."""
    monkeypatch.setenv("SEATRIAL_TEST_SECRET", "hunter2")
    assert resolve_secret("env:SEATRIAL_TEST_SECRET") == "hunter2"
    private = tmp_path / "secret"
    private.write_text("hunter3\n")
    private.chmod(0o600)
    assert resolve_secret(f"file:{private}") == "hunter3"
    private.chmod(0o644)
    for reference in (f"file:{private}", "env:SEATRIAL_NOT_SET", "hunter2", "keyring:only"):
        with pytest.raises(BadInput) as told:
            resolve_secret(reference)
        assert "hunter" not in str(told.value)
