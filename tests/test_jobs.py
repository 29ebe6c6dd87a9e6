"""The time of a job; how jobs stop, resume and take over is tried where a stage does (test_maps.py)."""

import threading

import numpy as np
import pytest

from leam import jobs


@pytest.mark.parametrize(("minutes", "seconds"), [(None, np.inf), (1, 30), (120, 6840), (2880, 164160)])
def test_time_is_kept_free_for_starting_and_writing(minutes, seconds):
    assert jobs.working_seconds(minutes) == seconds


def test_the_next_item_is_read_while_one_is_worked_on():
    begun, asked = threading.Event(), []

    def read(item):
        asked.append(item)
        if item == "b":
            begun.set()
        return item.upper()

    coming = jobs.read_ahead(list("abc"), read)
    assert next(coming) == "A"
    assert begun.wait(60) and asked == ["a", "b"]  # and not c: one in hand and one coming
    assert list(coming) == ["B", "C"]


def test_what_reading_meets_is_raised_where_its_item_is_due():
    coming = jobs.read_ahead([1, 0], lambda number: 1 // number)
    assert next(coming) == 1
    with pytest.raises(ZeroDivisionError):
        next(coming)


def test_calls_behind_are_made_in_order_and_the_caller_waits_when_too_many_do():
    made, go = [], threading.Event()
    with jobs.Behind("test", room=2) as behind:
        behind.call(go.wait, 60)
        for number in range(2):
            behind.call(made.append, number)
        late = threading.Thread(target=behind.call, args=(made.append, 2))
        late.start()
        late.join(0.2)
        assert late.is_alive() and made == []
        go.set()
        late.join(60)
    assert made == [0, 1, 2]


def test_after_a_failure_no_call_is_made_and_it_is_raised_once():
    made = []
    with pytest.raises(ZeroDivisionError), jobs.Behind("test") as behind:
        behind.call(lambda: 1 // 0)
        behind.call(made.append, 1)
    assert made == []


def test_an_error_of_the_block_stands_and_what_waits_is_made():
    made = []
    with pytest.raises(KeyError), jobs.Behind("test") as behind:
        behind.call(made.append, 1)
        raise KeyError
    assert made == [1]
