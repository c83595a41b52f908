"""Which tailer a command is about: the one of a configuration, of a state folder, or the only one that is there.

Flows in: `--config`, `--state-dir`. Flows out: a state folder, and the configuration where there is one.
"""

from dataclasses import dataclass
from pathlib import Path

from dataplane_common.config import stack_dir, state_root
from dataplane_common.errors import ConfigError
from dataplane_tailer import config as configuration
from dataplane_tailer.config import TailerConfig
from dataplane_tailer.snapshot import has_state, holder_of


@dataclass(frozen=True, slots=True)
class Target:
    """What the options lead to."""

    state_dir: Path
    config: TailerConfig | None = None


def find_target(config: Path | None, state_dir: Path | None) -> Target:
    """Return the tailer that the options name; `state_dir` wins over the configuration's.

    Raises:
        ConfigError: the configuration cannot be used, or there is no tailer here, or more than one.
    """
    if config is not None:
        overrides = {"state_dir": str(state_dir.absolute())} if state_dir else {}
        loaded = configuration.load(config, overrides)
        return Target(loaded.state_dir, loaded)
    return Target(state_dir.absolute() if state_dir else choose(known_state_dirs()))


def choose(candidates: list[Path]) -> Path:
    """Return the only folder with a state, or the only one on which a tailer runs.

    Raises:
        ConfigError: there is none, or more than one.
    """
    if not candidates:
        raise ConfigError("no tailer has run here; name its configuration (--config) or its folder (--state-dir)")
    running = [directory for directory in candidates if holder_of(directory) is not None]
    for choice in (candidates, running):
        if len(choice) == 1:
            return choice[0]
    listed = ", ".join(map(str, running or candidates))
    raise ConfigError(f"there is more than one tailer here; name one of them with --state-dir: {listed}")


def known_state_dirs() -> list[Path]:
    """Return the folders where `run` keeps its state by default, as far as they hold one."""
    beside = [folder for root in (stack_dir(), state_root()) for folder in sorted((root / "tailer").glob("*"))]
    return [folder for folder in dict.fromkeys([configuration.default_state_dir(), *beside]) if has_state(folder)]
