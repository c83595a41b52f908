"""A server of the local stack: prepared, started once, waited for, found again, stopped.

Flows in: a folder. Flows out: a service that answers. Invariant: starting what already runs and answers changes
nothing, and what runs without answering is replaced.
"""

import shutil
from abc import ABC, abstractmethod
from pathlib import Path

from dataplane_common.errors import Fatal
from dataplane_common.local.ports import LOOPBACK, Port, free_port
from dataplane_common.local.process import Launch, ManagedProcess

#: How long a service that runs may take to answer before it counts as hung.
_ANSWER_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = 15.0


class LocalService(ABC):
    """A service with its files in one folder; a second object on the same folder means the same service.

    The ports that it was given last are tried first when it starts again, then the ones that it wishes for; `moved`
    has those that were taken by somebody else.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        wished_ports: dict[str, int],
        ready_timeout_s: float,
        log_file: Path | None = None,
    ) -> None:
        self.name = name
        self.directory = directory
        self.process = ManagedProcess(name, directory, log_file)
        self.moved: list[Port] = []
        self._wished_ports = wished_ports
        self._ready_timeout_s = ready_timeout_s

    @abstractmethod
    def prepare(self, ports: dict[str, int]) -> Launch:
        """Write the configuration and return what to start; called only while the service does not run."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the service answers."""

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.process.is_running

    def start(self) -> bool:
        """Start the service unless it runs and answers, and wait until it does; return whether it was started.

        Raises:
            Fatal: it ended, or did not answer in time; the text has its last words.
        """
        if self.is_running:
            if self._answers_soon():
                return False
            self.process.kill()
        self.process.start(self.prepare(self._take_ports()))
        self.process.wait_for(self.is_ready, timeout_s=self._ready_timeout_s)
        return True

    def stop(self, timeout_s: float = _STOP_TIMEOUT_S) -> bool:
        """Ask the service to end, and kill it after `timeout_s`; return whether it ran. Its data stays."""
        return self.process.stop(timeout_s)

    def kill(self) -> None:
        """End the service as a power cut would (SIGKILL)."""
        self.process.kill()

    def pause(self) -> None:
        """Freeze the service with its connections open (SIGSTOP)."""
        self.process.pause()

    def resume(self) -> None:
        """Let a frozen service go on (SIGCONT)."""
        self.process.resume()

    def clear(self) -> None:
        """Kill the service and remove its folder with all data."""
        self.process.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def port(self, purpose: str) -> int:
        """Return a port that it was given when it was last started, 0 before that."""
        return self.process.ports.get(purpose, 0)

    def address(self, purpose: str) -> str:
        """Return `127.0.0.1:port`."""
        return f"{LOOPBACK}:{self.port(purpose)}"

    def _take_ports(self) -> dict[str, int]:
        last = self.process.ports
        self.moved = []
        taken = {}
        for purpose, wished in self._wished_ports.items():
            port = free_port(last.get(purpose) or wished)
            taken[purpose] = port.number
            if port.wished:
                self.moved.append(port)
        return taken

    def _answers_soon(self) -> bool:
        try:
            self.process.wait_for(self.is_ready, timeout_s=_ANSWER_TIMEOUT_S)
        except Fatal:
            return False
        return True
