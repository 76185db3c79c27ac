"""The venue's journal: durable before the answer, one owner, the same book after any kill."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest

from toolkit.clock import from_ns
from toolkit.errors import PlatformError, PlatformUnavailable
from toolkit.execution.ports import ClientTag, ClosePosition, OpenOrder, OrderType, Outcome
from toolkit.market import Bars, Side, sample_bars
from toolkit.platforms.simulated import SimulatedPlatform
from toolkit.simulation.account import PaperAccount

CHILD = Path(__file__).with_name("venue_child.py")
KILLS = int(os.environ.get("SEATRIAL_TEST_KILLS", "8"))


def child_module() -> ModuleType:
    """Return the child's plan as a module."""
    spec = importlib.util.spec_from_file_location("venue_child", CHILD)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bars() -> Bars:
    """Real EURUSD bars, a few weeks of them."""
    return sample_bars("EURUSD", "H1")[:400]


def book_of(journal: Path, bars: Bars) -> tuple[list[tuple[object, ...]], object]:
    """Return every deal of a journal, without the numbers that a killed run may have given out in vain, and the balance."""
    with SimulatedPlatform(journal) as venue:
        venue.load_replay(bars.symbol, bars)
        deals = [
            (d.symbol, d.side, d.entry, d.lots, d.price, d.profit, d.commission, d.at, d.reason, d.tag_text)
            for d in venue.deals_after(None)
        ]
        assert venue.duplicate_orders() == 0
        return deals, venue.book().account.balance


def test_restart_after_kill_at_random_moments_gives_the_unbroken_book(tmp_path: Path, bars: Bars) -> None:
    """A process killed -9 again and again ends with the deals and the balance of one that was left alone."""
    child_module().trade(tmp_path / "whole.sqlite", bars)
    expected = book_of(tmp_path / "whole.sqlite", bars)
    assert len(expected[0]) > 100
    series = tmp_path / "bars.npz"
    bars.save(series)
    journal = tmp_path / "killed.sqlite"
    chance = random.Random(20240102)
    command = [sys.executable, str(CHILD), str(journal), str(series)]
    for _ in range(KILLS):
        child = subprocess.Popen([*command, "0.003"], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0.0, 0.4))
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=10)
        child.stdout.close()
    subprocess.run([*command, "0"], check=True, timeout=120)
    assert book_of(journal, bars) == expected


def test_second_opener_is_refused_with_the_owner_named(tmp_path: Path) -> None:
    """One process per account: another object gets a PlatformError that names the process in the way."""
    with (
        SimulatedPlatform(tmp_path / "a.sqlite", PaperAccount("USD", 1000)),
        pytest.raises(PlatformError, match=rf"already open in process {os.getpid()}"),
    ):
        SimulatedPlatform(tmp_path / "a.sqlite")
    with SimulatedPlatform(tmp_path / "a.sqlite"):
        pass


def test_lock_dies_with_its_process(tmp_path: Path) -> None:
    """A killed owner leaves no lock behind."""
    code = (
        "import sys,time\nfrom toolkit.platforms.simulated import SimulatedPlatform\n"
        "from toolkit.simulation.account import PaperAccount\n"
        "v=SimulatedPlatform(sys.argv[1],PaperAccount('USD',1000))\nprint('open',flush=True)\ntime.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a.sqlite")], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"open\n"
    with pytest.raises(PlatformError, match="one process only"):
        SimulatedPlatform(tmp_path / "a.sqlite")
    child.kill()
    child.wait(timeout=10)
    child.stdout.close()
    SimulatedPlatform(tmp_path / "a.sqlite").close()


def test_journal_of_another_account_is_refused(tmp_path: Path) -> None:
    """Opening with other terms names what differs."""
    SimulatedPlatform(tmp_path / "a.sqlite", PaperAccount("USD", 1000)).close()
    with pytest.raises(PlatformError, match="leverage 30 -> 100"):
        SimulatedPlatform(tmp_path / "a.sqlite", PaperAccount("USD", 1000, leverage=100))


def test_new_venue_needs_its_account(tmp_path: Path) -> None:
    """A missing journal is not made up."""
    with pytest.raises(PlatformError, match="account must be given"):
        SimulatedPlatform(tmp_path / "a.sqlite")


def test_answer_is_on_disk_before_it_is_given(tmp_path: Path, bars: Bars) -> None:
    """Another connection sees the deal as soon as send has returned."""
    with SimulatedPlatform(tmp_path / "a.sqlite", PaperAccount("USD", 10_000)) as venue:
        venue.load_replay("EURUSD", bars)
        venue.advance_clock_to(from_ns(int(bars.ts[5])))
        venue.send(OpenOrder(ClientTag("q1x", 1), "EURUSD", Side.BUY, OrderType.MARKET, Decimal("0.1")))
        with sqlite3.connect(tmp_path / "a.sqlite") as other:
            assert other.execute("SELECT COUNT(*) FROM deals").fetchone() == (1,)


def test_flat_bars_write_nothing(tmp_path: Path, bars: Bars) -> None:
    """Moving the clock over bars in which nothing happens does not touch the disk."""
    with SimulatedPlatform(tmp_path / "a.sqlite", PaperAccount("USD", 10_000)) as venue:
        venue.load_replay("EURUSD", bars)
        other = sqlite3.connect(tmp_path / "a.sqlite")
        before = other.execute("PRAGMA data_version").fetchone()
        for i in range(len(bars)):
            venue.advance_clock_to(from_ns(int(bars.ts[i])))
        assert other.execute("PRAGMA data_version").fetchone() == before
        other.close()


def test_failed_write_is_unknown_and_leaves_the_book_as_the_journal_has_it(tmp_path: Path, bars: Bars) -> None:
    """When the disk is full the answer is UNKNOWN, and nothing stays in memory that is not on disk."""
    with SimulatedPlatform(tmp_path / "a.sqlite", PaperAccount("USD", 10_000, leverage=None)) as venue:
        venue.load_replay("EURUSD", bars)
        venue.advance_clock_to(from_ns(int(bars.ts[5])))
        database = venue._venue.journal._db
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")
        order = OpenOrder(ClientTag("q1x", 1), "EURUSD", Side.BUY, OrderType.MARKET, Decimal("0.1"))
        outcomes = [venue.send(order).outcome for _ in range(200)]
        assert outcomes[-1] is Outcome.UNKNOWN
        accepted = outcomes.count(Outcome.DONE)
        database.execute("PRAGMA max_page_count = 1000000")
        venue.advance_clock_to(from_ns(int(bars.ts[5])))
        assert len(venue.book().positions) == accepted
        assert venue.send(order).outcome is Outcome.DONE


def test_advance_with_a_full_disk_raises_retryable_and_can_be_repeated(tmp_path: Path, bars: Bars) -> None:
    """A stop that could not be written is carried out again on the next try, once."""
    with SimulatedPlatform(tmp_path / "a.sqlite", PaperAccount("USD", 10_000)) as venue:
        venue.load_replay("EURUSD", bars)
        venue.advance_clock_to(from_ns(int(bars.ts[5])))
        for n in range(30):
            quote = venue.quote("EURUSD")
            venue.send(
                OpenOrder(
                    ClientTag(f"q{n}", n + 1),
                    "EURUSD",
                    Side.BUY,
                    OrderType.MARKET,
                    Decimal("0.01"),
                    None,
                    quote.ask - Decimal("0.0005"),
                )
            )
        database = venue._venue.journal._db
        database.execute(f"PRAGMA max_page_count = {database.execute('PRAGMA page_count').fetchone()[0]}")
        end = from_ns(int(bars.ts[-1]))
        with pytest.raises(PlatformUnavailable, match="free the disk"):
            venue.advance_clock_to(end)
        database.execute("PRAGMA max_page_count = 1000000")
        assert venue.advance_clock_to(end) == 30
        assert len(venue.deals_after(None)) == 60


def test_duplicates_are_counted_by_the_tag_as_sent(tmp_path: Path, bars: Bars) -> None:
    """Two accepted orders with one tag are one duplicate; a close with the same tag is another action."""
    with SimulatedPlatform(tmp_path / "a.sqlite", PaperAccount("USD", 10_000)) as venue:
        venue.load_replay("EURUSD", bars)
        venue.advance_clock_to(from_ns(int(bars.ts[5])))
        order = OpenOrder(ClientTag("q1same", 1), "EURUSD", Side.BUY, OrderType.MARKET, Decimal("0.1"))
        first = venue.send(order)
        venue.send(ClosePosition(order.tag, str(first.position_id)))
        assert venue.duplicate_orders() == 0
        venue.send(order)
        assert venue.duplicate_orders() == 1


def test_restart_keeps_clock_of_the_last_commit_or_later(tmp_path: Path, bars: Bars) -> None:
    """A clean close keeps the clock where it stood."""
    end = from_ns(int(bars.ts[50])) + timedelta(minutes=1)
    with SimulatedPlatform(tmp_path / "a.sqlite", PaperAccount("USD", 10_000)) as venue:
        venue.load_replay("EURUSD", bars)
        venue.advance_clock_to(end)
    with SimulatedPlatform(tmp_path / "a.sqlite") as again:
        assert again.now() == end


def test_a_journal_of_format_1_is_brought_on(tmp_path: Path, bars: Bars) -> None:
    """An open position written before margin and swap were known is taken over, and is charged from now on only."""
    path = tmp_path / "a.sqlite"
    with SimulatedPlatform(path, PaperAccount("USD", 10_000)) as venue:
        venue.load_replay("EURUSD", bars)
        venue.advance_clock_to(from_ns(int(bars.ts[5])))
        order = OpenOrder(ClientTag("q1x", 1), "EURUSD", Side.BUY, OrderType.MARKET, Decimal("0.1"))
        assert venue.send(order).outcome is Outcome.DONE
        database = venue._venue.journal._db
        for column in ("margin", "paid_day"):
            database.execute(f"ALTER TABLE positions DROP COLUMN {column}")
        database.execute("UPDATE meta SET value = '1' WHERE key = 'format'")
        venue._venue.journal.close()
        venue._closed = True
    with SimulatedPlatform(path) as again:
        again.load_replay("EURUSD", bars)
        again.advance_clock_to(from_ns(int(bars.ts[200])))
        assert [(p.lots, p.swap) for p in again.book().positions] == [(Decimal("0.10"), Decimal("0.00"))]
