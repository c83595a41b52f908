"""An application whose threads are gevent's."""

from collections.abc import Callable
from typing import Any

RunProgram = Callable[..., Any]

_PROGRAM = """
    import gevent.monkey
    gevent.monkey.patch_all()
    import logging, os, sys
    import gevent
    from dataplane_emitter import configure

    emitter = configure(service=sys.argv[2], namespace="test", servers=sys.argv[1], exit_timeout_s=30)
    logging.getLogger().addHandler(emitter.handler())
    logging.getLogger().setLevel(logging.INFO)

    def work():
        for number in range(100):
            logging.info("parent")
            gevent.sleep(0)
"""


def test_greenlets_log_and_nothing_is_lost(bus: Any, run_program: RunProgram, dataset: str) -> None:
    """Twenty greenlets log, one that is killed among them; flushing and the end deliver all."""
    program = """
    workers = [gevent.spawn(work) for _ in range(20)]
    endless = gevent.spawn(lambda: [logging.info("endless") or gevent.sleep(0) for _ in iter(int, 1)])
    gevent.joinall(workers)
    endless.kill()
    assert emitter.flush(20)
    logging.info("last")
    """
    run_program(_PROGRAM + program, bus.url, dataset)
    messages = [event["message"] for event in bus.events(dataset)]
    assert (messages.count("parent"), messages.count("last")) == (2_000, 1)
    assert messages.count("endless") > 0


def test_a_fork_copies_no_greenlet_of_ours(bus: Any, run_program: RunProgram, dataset: str) -> None:
    """A fork copies gevent's greenlets, the emitter's too: the copy leaves the connection to the parent, for good."""
    program = """
    gevent.joinall([gevent.spawn(work) for _ in range(20)])
    pid = os.fork()
    if pid == 0:
        for _ in range(50):
            logging.info("child")
            gevent.sleep(0.01)
        assert emitter.flush(20)
        os._exit(0)
    for _ in range(50):
        logging.info("parent")
        gevent.sleep(0.01)
    assert os.waitpid(pid, 0)[1] == 0
    assert emitter.flush(20)
    assert emitter.stats().acknowledged == 2_050
    assert emitter.stats().last_problem == ""
    """
    run_program(_PROGRAM + program, bus.url, dataset, timeout_s=60)
    events = bus.events(dataset)
    assert [sum(event["message"] == who for event in events) for who in ("parent", "child")] == [2_050, 50]
    assert len({event["_id"] for event in events}) == 2_100
    assert len({(event["dp"]["source"], event["message"]) for event in events}) == 2
