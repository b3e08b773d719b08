"""Signals as a flag of the loop."""

import signal

import pytest

from bert_jax.training.processes import StopSignals


def test_a_signal_is_read_by_the_next_vote():
    previous = signal.getsignal(signal.SIGTERM)
    with StopSignals() as stop:
        stop.read_vote(stop.start_vote(None))
        assert stop.agreed == 0
        signal.raise_signal(signal.SIGTERM)
        assert stop.agreed == 0
        stop.read_vote(stop.start_vote(None))
        assert stop.agreed == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == previous


def test_a_second_interrupt_raises():
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
