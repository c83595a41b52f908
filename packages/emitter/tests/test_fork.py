"""Forks: the child is a source of its own, nothing is doubled, nobody hangs."""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest

RunProgram = Callable[..., Any]

_FORKS_WHILE_LOGGING = """
    import logging, os, sys, threading, time
    from dataplane_emitter import configure

    url, dataset = sys.argv[1:]
    emitter = configure(service=dataset, namespace="test", servers=url)
    log = logging.getLogger("app")
    log.setLevel(logging.INFO)
    log.addHandler(emitter.handler())
    counter = emitter.counter("turns")
    stop = threading.Event()

    def work():
        number = 0
        while not stop.is_set():
            log.info("parent", extra={"number": number})
            counter.inc()
            number += 1
        numbers.append(number)

    numbers = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for child in range(6):
        time.sleep(0.02)
        pid = os.fork()
        if pid == 0:
            for number in range(50):
                log.info("child", extra={"number": number, "child": child})
                counter.inc()
            ok = emitter.flush(10)
            emitter.close(5)
            os._exit(0 if ok else 9)
        children.append(pid)
    for pid in children:
        _, status = os.waitpid(pid, 0)
        assert status == 0, status
    stop.set()
    for thread in threads:
        thread.join()
    assert emitter.flush(20)
    print(sum(numbers), emitter.stats().dropped)
"""


def test_forks_while_threads_log_neither_hang_nor_double(bus: Any, run_program: RunProgram, dataset: str) -> None:
    """Each child sends its own events under its own source, the parent all of its own; counts are exact in both."""
    done = run_program(_FORKS_WHILE_LOGGING, bus.url, dataset, timeout_s=50)
    total, dropped = done.stdout.split()
    assert dropped == "{}"
    logged = int(total)
    events, points = bus.events(dataset), bus.events(dataset, "METRICS")
    by_source: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events + points:
        by_source[event["dp"]["source"]].append(event)
    assert len(by_source) == 7
    assert all(
        sorted(event["event"]["sequence"] for event in found) == list(range(1, len(found) + 1))
        for found in by_source.values()
    )
    messages = Counter(event["message"] for event in events)
    assert messages == {"parent": logged, "child": 300}
    assert sum(point["metric"]["value"] for point in points) == logged + 300
    pids = {
        source: {event["process"]["pid"] for event in found if "process" in event}
        for source, found in by_source.items()
    }
    assert all(len(found) == 1 for found in pids.values())
    finals = [account for account in bus.accounts(dataset) if account.final]
    assert len(finals) == 7


_CHILD_WITHOUT_EVENTS = """
    import os, sys, threading
    from dataplane_emitter import configure

    emitter = configure(service=sys.argv[2], namespace="test", servers=sys.argv[1])
    emitter.processor()(None, "info", {"event": "parent"})
    pid = os.fork()
    if pid == 0:
        assert threading.active_count() == 1
        assert emitter.stats().accepted == 0
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
"""


def test_a_child_that_logs_nothing_starts_nothing(bus: Any, run_program: RunProgram, dataset: str) -> None:
    """A fork costs no thread and no connection until the child logs, and what the parent queued stays the parent's."""
    run_program(_CHILD_WITHOUT_EVENTS, bus.url, dataset)
    assert [event["message"] for event in bus.events(dataset)] == ["parent"]


_POOL = """
    import logging, multiprocessing, sys
    from dataplane_emitter import configure

    def work(number):
        if multiprocessing.get_start_method() != "fork":
            start()
        logging.getLogger("app").warning("job", extra={"number": number})
        emitter.counter("jobs").inc()

    def start():
        global emitter
        if "emitter" not in globals():
            emitter = configure(service=sys.argv[2], namespace="test", servers=sys.argv[1])
            logging.getLogger("app").addHandler(emitter.handler())

    if sys.argv[4] == "import":
        start()
    if __name__ == "__main__":
        multiprocessing.set_start_method(sys.argv[3])
        start()
        jobs = [multiprocessing.Process(target=work, args=(number,)) for number in range(4)]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
            assert job.exitcode == 0
"""


@pytest.mark.parametrize("when", ["import", "child"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_deliver(
    bus: Any, run_program: RunProgram, dataset: str, method: str, when: str
) -> None:
    """A `multiprocessing` child, which runs no `atexit` functions, delivers its logs and metrics before it ends."""
    run_program(_POOL, bus.url, dataset, method, when, timeout_s=60)
    assert sorted(event["number"] for event in bus.events(dataset)) == [0, 1, 2, 3]
    assert sum(point["metric"]["value"] for point in bus.events(dataset, "METRICS")) == 4


_METRICS_ONLY_CHILD = """
    import os, sys
    from dataplane_emitter import configure

    emitter = configure(service=sys.argv[2], namespace="test", servers=sys.argv[1], metrics={"interval_s": 0.1})
    jobs = emitter.counter("jobs")
    jobs.inc(5)
    pid = os.fork()
    if pid == 0:
        import time
        jobs.inc(2)
        deadline = time.monotonic() + 10
        while emitter.stats().acknowledged < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        os._exit(0 if emitter.stats().acknowledged else 9)
    assert os.waitpid(pid, 0)[1] == 0
"""


def test_a_child_that_only_counts_sends_its_own_counts(bus: Any, run_program: RunProgram, dataset: str) -> None:
    """A metric used after a fork starts the child's thread; the parent's counts are not sent twice."""
    run_program(_METRICS_ONLY_CHILD, bus.url, dataset)
    assert sorted(point["metric"]["value"] for point in bus.events(dataset, "METRICS")) == [2, 5]


def test_sixteen_threads_and_forks_count_exactly(bus: Any, run_program: RunProgram, dataset: str) -> None:
    """Counters, histograms and timers of 16 threads are exact in the parent and in children forked meanwhile."""
    program = """
        import os, sys, threading
        from dataplane_emitter import configure
        emitter = configure(
            service=sys.argv[2], namespace="test", servers=sys.argv[1], metrics={"interval_s": 0.05}, exit_timeout_s=20
        )
        counter, histogram, timer = emitter.counter("c"), emitter.histogram("h"), emitter.timer("t")
        def count():
            for number in range(500):
                counter.inc(2)
                histogram.observe(number)
                counter.inc(1, {"shop": "de"})
                timer.observe(0.1)
        def count_in_threads():
            threads = [threading.Thread(target=count) for _ in range(16)]
            for thread in threads:
                thread.start()
            return threads
        threads = count_in_threads()
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                for thread in count_in_threads():
                    thread.join()
                emitter.close(20)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        for thread in threads:
            thread.join()
    """
    run_program(program, bus.url, dataset, timeout_s=90)
    metrics = [
        (point["dp"]["source"], point.get("labels", {}), point["metric"]) for point in bus.events(dataset, "METRICS")
    ]
    assert len({source for source, _, _ in metrics}) == 4
    calls = 4 * 16 * 500
    by_shop = [metric["value"] for _, labels, metric in metrics if metric["name"] == "c" and labels]
    others = [metric["value"] for _, labels, metric in metrics if metric["name"] == "c" and not labels]
    assert (sum(by_shop), sum(others)) == (calls, 2 * calls)
    for name in "ht":
        found = [metric for _, _, metric in metrics if metric["name"] == name]
        assert sum(metric["count"] for metric in found) == calls
        assert sum(sum(metric["buckets"].values()) for metric in found) == calls
    assert sum(metric["sum"] for _, _, metric in metrics if metric["name"] == "h") == 4 * 16 * sum(range(500))
