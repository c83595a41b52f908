"""Processes in odd surroundings, and odd things that they do: what was logged arrives, and they end as they would."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RunProgram = Callable[..., Any]

_HEAD = """
import logging, os, sys, threading, time
from dataplane_emitter import configure
emitter = configure(service=sys.argv[2], namespace="test", servers=sys.argv[1])
logging.getLogger().addHandler(emitter.handler())
logging.getLogger().setLevel(logging.INFO)
"""


@pytest.fixture
def run(bus: Any, dataset: str, tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a program behind the head, in a given way."""

    def run(text: str, *, before: str = "", **how: Any) -> "subprocess.CompletedProcess[str]":
        program = tmp_path / "program.py"
        program.write_text(textwrap.dedent(before) + _HEAD + textwrap.dedent(text))
        flags = how.pop("flags", ("-W", "error"))
        shell = how.pop("shell", "")
        command = [sys.executable, *flags, str(program), bus.url, dataset]
        if shell:
            command = ["/bin/sh", "-c", f'exec "$@" {shell}', "sh", *command]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **how)

    return run


def _messages(bus: Any, dataset: str) -> list[str]:
    return [event["message"] for event in bus.events(dataset)]


@pytest.mark.parametrize(
    "how",
    [
        {"env": {}},
        {"env": {"HOME": "/nonexistent", "PATH": "/nonexistent"}},
        {"cwd": "/proc"},
        {"flags": ("-OO",)},
        {"flags": ("-I",)},
        {"flags": ("-X", "dev", "-W", "error")},
        {"shell": "<&- >&- 2>&-"},
        {"before": "import sys\nsys.stderr = sys.stdout = sys.stdin = None\n"},
        {"before": "import os, tempfile\nos.chdir(tempfile.mkdtemp())\nos.rmdir(os.getcwd())\n"},
        {"before": "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))\n"},
    ],
    ids=["no environment", "no home", "read-only folder", "optimised", "isolated", "development mode", "closed streams",
         "no streams", "deleted folder", "few files"],
)  # fmt: skip
def test_any_surroundings_will_do(bus: Any, dataset: str, run: Any, how: dict[str, Any]) -> None:
    """Without an environment, a home, streams, a writable folder, with few files: logging works and says nothing."""
    done = run("logging.warning('here')", **how)
    assert (done.returncode, done.stderr) == (0, "")
    assert _messages(bus, dataset) == ["here"]


def test_daemon_threads_log_to_the_very_end(bus: Any, dataset: str, run: Any) -> None:
    """Threads that never stop logging do not hold up the end, and what they logged before it is there without a gap."""
    done = run("""
        def work():
            while True:
                logging.info("x")
                time.sleep(0.0001)
        for _ in range(4):
            threading.Thread(target=work, daemon=True).start()
        while emitter.stats().acknowledged < 100:
            time.sleep(0.01)
    """)
    assert (done.returncode, done.stderr) == (0, "")
    numbers = [event["event"]["sequence"] for event in bus.events(dataset)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 100


def test_what_runs_at_exit_may_log_and_configure(bus: Any, dataset: str, run: Any) -> None:
    """Exit functions log as long as they run before the emitter's own; an emitter may even be made there."""
    done = run("""
        import atexit
        def late():
            logging.warning("at exit")
            other = configure(service=sys.argv[2], namespace="test", servers=sys.argv[1])
            other.processor()(None, "info", {"event": "made at exit"})
            other.close(5)
        atexit.register(late)
    """)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(_messages(bus, dataset)) == ["at exit", "made at exit"]


def test_forks_from_threads_and_from_within_a_log_call(bus: Any, dataset: str, run: Any) -> None:
    """A fork in another thread than the main one, while all log, and one in the middle of a log call, hang nobody."""
    done = run(
        """
        stop = threading.Event()
        def work():
            while not stop.is_set():
                logging.info("parent")
        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        def fork():
            for _ in range(5):
                pid = os.fork()
                if pid == 0:
                    logging.info("child of a thread")
                    emitter.close(10)
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
        forking = threading.Thread(target=fork)
        forking.start()
        forking.join()
        stop.set()
        for worker in workers:
            worker.join()

        class Forks:
            pid = -1
            def __str__(self):
                self.pid = os.fork()
                return "forked"
        forks = Forks()
        logging.info("so that the thread is known")
        logging.info("%s", forks)
        if forks.pid == 0:
            logging.info("child of a call")
            emitter.close(10)
            os._exit(0)
        assert os.waitpid(forks.pid, 0)[1] == 0
        """,
        flags=(),
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = _messages(bus, dataset)
    assert told.count("child of a thread") == 5
    assert told.count("child of a call") == 1
    assert len({event["process"]["pid"] for event in bus.events(dataset) if event["message"] == "forked"}) == 2


def test_a_system_without_threads_is_tried_again(bus: Any, dataset: str, run: Any) -> None:
    """Where no thread can be started, calls go on, and what waited is sent when there is one."""
    done = run(
        """
        logging.warning("without a thread")
        threading.Thread.start = start
        while not emitter.flush(5):
            time.sleep(0.1)
        """,
        before="""
        import threading
        start = threading.Thread.start
        def refuse(thread):
            raise RuntimeError("can't start new thread")
        threading.Thread.start = refuse
        """,
    )
    assert done.returncode == 0, done.stderr
    assert _messages(bus, dataset) == ["without a thread"]


def test_a_stack_that_is_nearly_full_is_no_reason_to_raise(bus: Any, dataset: str, run: Any) -> None:
    """A log call at any depth returns; what has no room to be made is counted."""
    done = run("""
        def deep(levels):
            if levels:
                return deep(levels - 1)
            logging.getLogger().handlers[0].handle(record)
        record = logging.makeLogRecord({"msg": "deep", "levelno": 30, "levelname": "WARNING"})
        reached = 0
        for levels in range(800, 1000):
            try:
                deep(levels)
            except RecursionError:
                continue  # the call itself found no room, or was the program's own
            reached += 1
        assert emitter.flush(10)
        stats = emitter.stats()
        assert stats.accepted >= reached, stats
        assert set(stats.dropped) <= {"internal_error"}, stats
    """)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(_messages(bus, dataset)) > 100


def test_uncaught_exceptions_of_threads_and_programs_are_logged(bus: Any, dataset: str, run: Any) -> None:
    """Hooks for what nobody caught may log, at the end of a thread and of the program."""
    done = run("""
        sys.excepthook = lambda *found: logging.error("program", exc_info=found)
        threading.excepthook = lambda found: logging.error("thread", exc_info=found[:3])
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        raise KeyError("x")
    """)
    assert done.returncode == 1
    assert [(event["message"], event["error"]["type"]) for event in bus.events(dataset)] == [
        ("thread", "ZeroDivisionError"),
        ("program", "KeyError"),
    ]


def test_a_signal_handler_may_end_the_program(bus: Any, dataset: str, run: Any) -> None:
    """`sys.exit` in a handler that interrupts log calls ends the program with its code, and all is delivered."""
    done = run("""
        import signal
        def leave(*_):
            logging.info("leaving")
            sys.exit(7)
        signal.signal(signal.SIGALRM, leave)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        while True:
            logging.info("x")
    """)
    assert (done.returncode, done.stderr) == (7, "")
    events = bus.events(dataset)
    assert [event["event"]["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert "leaving" in {event["message"] for event in events}


def test_logging_may_be_configured_again_while_threads_log(bus: Any, dataset: str, run: Any) -> None:
    """`dictConfig` replaces the handler under threads that log: what a handler has got is delivered, once."""
    done = run("""
        import logging.config
        class Counting(logging.Filter):
            passed = 0
            def filter(self, record):
                with lock:
                    Counting.passed += 1
                return True
        lock = threading.Lock()
        again = {
            "version": 1,
            "filters": {"counting": {"()": Counting}},
            "handlers": {"bus": {"()": emitter.handler, "filters": ["counting"]}},
            "root": {"handlers": ["bus"], "level": "INFO"},
        }
        logging.config.dictConfig(again)
        stop = threading.Event()
        def work():
            while not stop.is_set():
                logging.info("x")
        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        for _ in range(50):
            logging.config.dictConfig(again)
        stop.set()
        for worker in workers:
            worker.join()
        assert emitter.flush(20)
        stats = emitter.stats()
        assert stats.accepted == stats.acknowledged == Counting.passed > 0, (stats, Counting.passed)
    """)
    assert (done.returncode, done.stderr) == (0, "")
    assert len({event["_id"] for event in bus.events(dataset)}) == len(bus.events(dataset)) > 0
