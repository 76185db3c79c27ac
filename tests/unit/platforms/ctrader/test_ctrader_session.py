"""The cTrader session: who is let in, tokens that are renewed once, loss and return of the line, the server's limits."""

from __future__ import annotations

import socket
import threading
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.unit.platforms.ctrader.conftest import START, Desk, buy
from toolkit.clock import SYSTEM, ManualClock
from toolkit.errors import BadInput, PlatformUnavailable, ReadFailed, WrongAccount
from toolkit.execution.ports import ClosePosition, ModifyProtection, Outcome
from toolkit.platforms.ctrader.access.tokens import Credentials, FileCredentials, store_of
from toolkit.platforms.ctrader.line.client import Pace
from toolkit.platforms.ctrader.messages import pb
from toolkit.platforms.simulated.book.journal import Journal as VenueJournal


def wait_until(there: Any, seconds: float = 10.0) -> None:
    """Wait for a condition, with a deadline."""
    end = SYSTEM.monotonic() + seconds
    while not there():
        assert SYSTEM.monotonic() < end, "it did not happen in time"
        SYSTEM.sleep(0.01)


def test_ctrader_wrong_application_secret_is_named(desk: Desk) -> None:
    """A refused application says what to check, and the secret is not in the message."""
    desk.credentials.kept = Credentials("sandbox-app", "canary-secret", "sandbox-access-1")
    with pytest.raises(WrongAccount, match="client_id and client_secret") as refused:
        desk.session().connect()
    assert "canary" not in str(refused.value)


def test_ctrader_login_that_the_token_does_not_reach_is_refused(desk: Desk) -> None:
    """The account of the row must be among those of the token."""
    with pytest.raises(WrongAccount, match="42"):
        desk.session(login=42).connect()


def test_ctrader_demo_session_refuses_a_live_account(desk: Desk) -> None:
    """Demo and real are two systems; the token's word decides, before anything is authorised."""
    desk.server.gate.is_live = True
    with pytest.raises(WrongAccount, match="must be demo, was real"):
        desk.session().connect()


def test_ctrader_untrusted_certificate_is_refused(desk: Desk) -> None:
    """A server that cannot prove its name gets no secret."""
    with pytest.raises(PlatformUnavailable, match="certificate"):
        desk.session(tls=None).connect()


def test_ctrader_ended_token_is_renewed_and_kept_before_it_is_used(desk: Desk) -> None:
    """With an access token that ended, the refresh token is spent once and the new pair is in the store."""
    desk.server.gate.access_token = "another"
    platform = desk.session()
    platform.connect()
    assert desk.server.gate.refreshed == 1
    kept = desk.credentials.kept
    assert (kept.access_token, kept.refresh_token) == (desk.server.gate.access_token, desk.server.gate.refresh_token)
    assert kept.expires_at


def test_ctrader_tokens_another_process_renewed_are_taken_over(desk: Desk) -> None:
    """Who finds fresher tokens in the store than it tried uses them, and spends no refresh token."""
    platform = desk.session()
    stale = desk.credentials.kept
    desk.server.gate.renew(stale.refresh_token)
    fresh = Credentials(
        stale.client_id, stale.client_secret, desk.server.gate.access_token, desk.server.gate.refresh_token
    )
    loads = iter([stale, fresh, fresh])
    desk.credentials.load = lambda: next(loads)  # type: ignore[method-assign]
    platform.connect()
    assert desk.server.gate.refreshed == 1


def test_ctrader_credentials_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """What is saved is what is loaded, in a file nobody else may read, with no draft left beside it."""
    store = FileCredentials(tmp_path / "tokens.json")
    store.save(Credentials("app", "s", "a", "r", "2026-01-01T00:00:00+00:00"))
    store.save(Credentials("app", "s", "a2", "r2"))
    assert store.load() == Credentials("app", "s", "a2", "r2")
    assert (tmp_path / "tokens.json").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["tokens.json"]


def test_ctrader_credentials_are_in_no_repr() -> None:
    """A traceback that shows the record shows no secret."""
    shown = repr(Credentials("app", "canary-1", "canary-2", "canary-3"))
    assert "canary" not in shown and "app" in shown


@pytest.mark.parametrize("reference", ["env:TOKENS", "tokens.json", "keyring:one"])
def test_ctrader_secret_must_be_where_it_can_be_renewed(reference: str, tmp_path: Path) -> None:
    """An environment variable cannot keep a renewed token."""
    with pytest.raises(BadInput, match="file:/path or keyring"):
        store_of(reference, tmp_path)


def test_ctrader_restart_of_the_line_brings_account_and_spots_back(desk: Desk) -> None:
    """After a loss reads fail until the pause is over; then the session logs in again and prices are fresh."""
    platform = desk.session()
    platform.connect()
    assert platform.quote("EURUSD").bid == Decimal("1.10000")
    desk.server.cut()
    wait_until(lambda: not platform.session.client.up)
    with pytest.raises(PlatformUnavailable, match="opened again"):
        platform.book()
    desk.move("1.20000", "1.20010")
    SYSTEM.sleep(0.25)
    assert platform.book().account.balance == Decimal(10_000)
    assert platform.quote("EURUSD").bid == Decimal("1.20000")


def test_ctrader_order_while_the_line_is_down_is_not_sent_later(desk: Desk) -> None:
    """A command that could not leave is not accepted, and the line that comes back carries nothing of it."""
    platform = desk.session()
    platform.connect()
    desk.server.cut()
    wait_until(lambda: not platform.session.client.up)
    result = platform.send(buy())
    assert result.outcome is Outcome.NOT_ACCEPTED
    platform.connect()
    assert platform.book().positions == ()
    assert desk.venue.order_count() == 0


def test_ctrader_line_lost_after_the_order_left_is_unknown(desk: Desk) -> None:
    """Whoever sent and heard nothing does not know; here the server had taken the order."""
    platform = desk.session(reply_seconds=5.0)
    platform.connect()
    platform.quote("EURUSD")
    say = desk.server._say

    def silent(writer: Any, said: Any) -> None:
        if any(isinstance(m, pb.ProtoOAExecutionEvent) for m, _ in said):
            writer.transport.abort()
        else:
            say(writer, said)

    desk.server._say = silent  # type: ignore[method-assign]
    command = buy()
    assert platform.send(command).outcome is Outcome.UNKNOWN
    desk.server._say = say  # type: ignore[method-assign]
    platform.connect()
    (position,) = platform.book().positions
    assert (position.tag_text, position.magic) == (command.tag.text, command.tag.magic)


def test_ctrader_locked_position_is_unknown_and_changes_nothing(desk: Desk) -> None:
    """POSITION_LOCKED passes; until then nobody knows, and the close is planned again after a read."""
    platform = desk.session()
    platform.connect()
    opened = platform.send(buy())
    desk.server.plan.add(pb.ProtoOAClosePositionReq, "POSITION_LOCKED")
    close = ClosePosition(buy().tag, str(opened.position_id))
    assert platform.send(close).outcome is Outcome.UNKNOWN
    assert platform.send(close).outcome is Outcome.DONE


def test_ctrader_read_refused_as_too_frequent_is_repeated(desk: Desk) -> None:
    """A read waits as the server asks and comes through; an order is told instead."""
    platform = desk.session()
    platform.connect()
    desk.server.plan.add(pb.ProtoOAReconcileReq, "REQUEST_FREQUENCY_EXCEEDED", times=2)
    assert platform.book().positions == ()
    desk.server.plan.add(pb.ProtoOANewOrderReq, "REQUEST_FREQUENCY_EXCEEDED")
    assert platform.send(buy()).outcome is Outcome.NOT_ACCEPTED


def test_ctrader_refused_read_is_a_failed_read(desk: Desk) -> None:
    """An error is never an empty book."""
    platform = desk.session()
    platform.connect()
    desk.server.plan.add(pb.ProtoOAReconcileReq, "CANT_ROUTE_REQUEST")
    with pytest.raises(ReadFailed, match="CANT_ROUTE_REQUEST"):
        platform.book()


def test_ctrader_account_authorisation_that_ended_is_renewed_by_the_next_read(desk: Desk) -> None:
    """After ACCOUNT_NOT_AUTHORIZED the session logs in again and the read comes through."""
    platform = desk.session()
    platform.connect()
    desk.server.plan.add(pb.ProtoOATraderReq, "ACCOUNT_NOT_AUTHORIZED")
    assert platform.book().account.login == str(desk.server.login)


def test_ctrader_client_keeps_the_servers_pace(desk: Desk) -> None:
    """Sixty reads in a row are not refused, because the client does not exceed what the server takes."""
    platform = desk.session(requests_per_second=45)
    platform.connect()
    for _ in range(60):
        platform.session.client.ask(pb.ProtoOAVersionReq(), pb.ProtoOAVersionRes)
    assert platform.session.client.up


def test_ctrader_session_knows_the_servers_time_before_it_asked_for_a_price(desk: Desk) -> None:
    """With a machine clock two hours behind, a session that only reads the book still has the time of the server's spots."""
    platform = desk.session(utc=ManualClock(START - timedelta(hours=2)))
    platform.connect()
    wait_until(lambda: platform.now() >= START)


def test_ctrader_pace_lets_only_so_many_through_in_any_second() -> None:
    """The n+1st request waits until the first of the last n is a second old."""
    clock = ManualClock(SYSTEM.now())
    pace = Pace(3, clock)
    assert [pace.wait_needed() for _ in range(3)] == [0.0, 0.0, 0.0]
    clock.advance(0.4)
    assert pace.wait_needed() == pytest.approx(0.6)
    clock.advance(0.6)
    assert pace.wait_needed() == 0.0


def test_ctrader_second_session_sees_what_the_first_did(desk: Desk) -> None:
    """The book is read, not kept: two sessions of one account show the same."""
    one, two = desk.session(), desk.session()
    one.connect()
    two.connect()
    opened = one.send(buy(stop_loss=Decimal("1.09000")))
    (position,) = two.book().positions
    assert position.position_id == opened.position_id
    assert two.send(ModifyProtection(buy().tag, position.position_id, Decimal("1.09500"), None)).outcome is Outcome.DONE
    assert one.book().positions[0].stop_loss == Decimal("1.09500")


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x05\xff\xff\xff\xff\xff", b"\xff" * 64])
def test_ctrader_noise_on_the_port_ends_that_connection_only(desk: Desk, noise: bytes) -> None:
    """Bytes that are no message end their connection; a session beside it goes on."""
    platform = desk.session()
    platform.connect()
    with desk.server.client_tls().wrap_socket(
        socket.create_connection(("127.0.0.1", desk.server.port), timeout=5.0), server_hostname="127.0.0.1"
    ) as line:
        line.sendall(noise)
        line.settimeout(5.0)
        assert line.recv(1) == b""
    assert platform.book().positions == ()


def test_ctrader_session_ends_its_thread(desk: Desk) -> None:
    """A closed session leaves no thread behind, and closing again does nothing."""
    before = threading.active_count()
    platform = desk.session()
    platform.connect()
    platform.close()
    platform.close()
    wait_until(lambda: threading.active_count() == before)


@pytest.mark.parametrize(
    "code",
    ["CH_SERVER_NOT_REACHABLE", "SERVER_IS_UNDER_MAINTENANCE", "REQUEST_FREQUENCY_EXCEEDED", "TIMEOUT_ERROR"],
)
@pytest.mark.parametrize("request_", [pb.ProtoOAApplicationAuthReq, pb.ProtoOAAccountAuthReq, pb.ProtoOATraderReq])
def test_ctrader_server_that_is_not_ready_at_login_is_unavailable_not_wrong(
    desk: Desk, request_: Any, code: str
) -> None:
    """Maintenance ends no run: the login is tried again after a pause, and then comes through."""
    platform = desk.session()
    desk.server.plan.add(request_, code)
    with pytest.raises(PlatformUnavailable, match=code):
        platform.connect()
    platform.connect()
    assert platform.book().positions == ()


def test_ctrader_session_pauses_after_a_refused_login(desk: Desk) -> None:
    """A login that fails while coming back is not repeated at once."""
    platform = desk.session()
    platform.connect()
    desk.server.cut()
    wait_until(lambda: not platform.session.client.up)
    desk.server.plan.add(pb.ProtoOAApplicationAuthReq, "SERVER_IS_UNDER_MAINTENANCE")
    for match in ("opened again", "SERVER_IS_UNDER_MAINTENANCE", "opened again"):
        with pytest.raises(PlatformUnavailable, match=match):
            platform.book()
        SYSTEM.sleep(0.25 if match == "opened again" else 0.0)


def test_ctrader_history_is_complete_whatever_the_order_of_a_page(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends two rows a page, newest first, is still read to the last deal."""
    platform = desk.session()
    platform.connect()
    for k in range(5):
        platform.send(buy())
        desk.move(f"1.1000{k}", f"1.1001{k}")
    real = VenueJournal.deals

    def newest_first(self: Any, since: int, until: int) -> Any:
        return real(self, since, until)[::-1]

    monkeypatch.setattr(VenueJournal, "deals", newest_first)
    monkeypatch.setattr("toolkit.platforms.ctrader.history._PAGE", 2)
    found = platform.history(START - timedelta(days=1), platform.now() + timedelta(minutes=1)).deals
    assert len(found) == 5
    assert [d.at for d in found] == sorted(d.at for d in found)
