"""The change log: any reader, however slow, ends with exactly the rows that there are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from panel_app.data_store.change_log import ChangeLog, Changes

Row = tuple[int, int]


def _log(keep: int | None = None) -> ChangeLog[int, Row]:
    return ChangeLog(lambda row: row[0], keep=keep)


def _apply(mine: dict[int, Row], changes: Changes[int, Row]) -> dict[int, Row]:
    if changes.complete:
        mine = {}
    for key in changes.removed:
        mine.pop(key, None)
    for row in changes.rows:
        mine[row[0]] = row
    return mine


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3)), max_size=5)),
        st.tuples(st.just("replace"), st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3)), max_size=5)),
        st.tuples(st.just("read"), st.just([])),
    ),
    max_size=40,
)


@given(steps=_STEPS, keep=st.sampled_from([None, 1, 4]))
def test_a_reader_that_reads_at_any_moments_ends_with_the_rows_that_there_are(steps: list, keep: int | None) -> None:
    """However puts, replacements and reads are mixed, the last read makes the reader equal to the log."""
    log, mine, seq = _log(keep), {}, 0
    for verb, rows in steps:
        if verb == "put":
            log.put(rows)
        elif verb == "replace":
            log.replace(rows)
        else:
            changes = log.since(seq)
            mine, seq = _apply(mine, changes), changes.seq
    mine = _apply(mine, log.since(seq))
    assert mine == {row[0]: row for row in log}


def test_many_changes_of_one_row_reach_a_slow_reader_as_one() -> None:
    """A row that changed a thousand times between two reads is delivered once, in its latest state."""
    log = _log()
    log.put([(1, 0), (2, 0)])
    seq = log.seq
    for value in range(1, 1001):
        log.put([(1, value)])
    assert log.since(seq).rows == ((1, 1000),)


def test_an_equal_row_is_no_change() -> None:
    """Storing what is already there neither counts as a change nor wakes a reader."""
    log = _log()
    log.put([(1, 5)])
    assert log.put([(1, 5)]) is False
    assert not log.since(log.seq)


def test_a_reader_older_than_the_remembered_removals_starts_anew() -> None:
    """Removals are remembered up to a bound; a reader from before it is told to forget what it had."""
    log = _log(keep=1)
    log.put([(0, 0)])
    seq = log.seq
    log.put([(key, 0) for key in range(1, 3000)])
    changes = log.since(seq)
    assert changes.complete
    assert changes.rows == ((2999, 0),)
