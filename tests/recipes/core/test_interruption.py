"""What signals do to a training: noted between two steps, at once where nothing is lost."""

import signal
import threading

import pytest

from attention_zoo.recipes.core.interruption import Interrupted, StopNow, StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted(number):
    before = signal.getsignal(number)
    with StopRequest() as request:
        assert request.signal_number is None
        signal.raise_signal(number)
        assert request.signal_number == number
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_at_once_it_breaks_work_off(number):
    done = []

    def work():
        with request.at_once():
            done.append("begun")
            signal.raise_signal(number)
            done.append("ended")

    with StopRequest() as request:
        with pytest.raises(StopNow):
            work()
        assert request.signal_number == number
        # What is saved after it is not broken off.
        signal.raise_signal(signal.SIGTERM)
        done.append("saved")
    assert done == ["begun", "saved"]


def test_work_is_not_begun_after_a_signal():
    with StopRequest() as request:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StopNow), request.at_once():
            pytest.fail("it was begun")


def test_work_that_no_signal_breaks_off_is_done():
    with StopRequest() as request:
        with request.at_once():
            pass
        signal.raise_signal(signal.SIGTERM)  # noted again
        assert request.signal_number == signal.SIGTERM


def test_what_handles_errors_does_not_take_it_for_one():
    assert not issubclass(StopNow, Exception)


def test_a_second_ctrl_c_interrupts_and_a_second_sigterm_does_not():
    with StopRequest() as request:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert request.signal_number == signal.SIGTERM


def test_outside_of_the_main_thread_nothing_is_touched():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def run():
        with StopRequest() as request, request.at_once():
            seen.append((request.signal_number, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(None, before)]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_exit_status(number, status):
    assert Interrupted(number, "saved").exit_status == status


def test_only_the_signals_that_are_named_are_noted():
    before = signal.getsignal(signal.SIGINT)
    with StopRequest([signal.SIGTERM]) as request:
        assert signal.getsignal(signal.SIGINT) is before
        with pytest.raises(StopNow, match="stopped by SIGTERM"), request.at_once():
            signal.raise_signal(signal.SIGTERM)


def test_sigterm_is_passed_on_and_ctrl_c_is_not():
    # Ctrl-C in a terminal reaches all processes by itself, and a second one would interrupt them.
    told = []
    with StopRequest() as request:
        request.pass_on = lambda: told.append("told")
        signal.raise_signal(signal.SIGINT)
        assert told == []
        signal.raise_signal(signal.SIGTERM)
        assert told == ["told"]
