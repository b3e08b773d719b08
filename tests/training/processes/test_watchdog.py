"""The timeout between two signs of progress."""

import threading
import time

from bert_jax.training.processes.watchdog import Watchdog


def test_the_watchdog_does_not_expire_between_heartbeats():
    expired = []
    watchdog = Watchdog(0.5, expired.append)
    for _ in range(4):
        time.sleep(0.2)
        watchdog.heartbeat("more")
    watchdog.close()
    assert expired == []


def test_the_watchdog_names_what_was_waited_for():
    expired, called = [], threading.Event()
    watchdog = Watchdog(0.05, lambda what: (expired.append(what), called.set()))
    watchdog.heartbeat("step 7")
    assert called.wait(5)
    watchdog.close()
    assert expired == ["step 7"]
