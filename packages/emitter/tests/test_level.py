"""Names of levels."""

import pytest

from dataplane_emitter import level


@pytest.mark.parametrize(
    ("given_name", "name", "rank"),
    [
        ("INFO", "info", level.INFO),
        ("warn", "warning", level.WARNING),
        ("exception", "error", level.ERROR),
        ("FATAL", "critical", level.ERROR),
        ("Critical", "critical", level.ERROR),
        ("debug", "debug", level.DEBUG),
        ("audit", "audit", level.INFO),
    ],
)
def test_names_map_to_one_spelling(given_name: str, name: str, rank: int) -> None:
    """The spellings of the logging worlds end in one name each, and errors rank highest."""
    found = level.from_name(given_name)
    assert (found.name, found.rank) == (name, rank)


@pytest.mark.parametrize(
    ("number", "given_name", "name", "rank"),
    [
        (20, "INFO", "info", level.INFO),
        (25, "Level 25", "info", level.INFO),
        (45, "Level 45", "error", level.ERROR),
        (25, "SUCCESS_", "success_", level.INFO),
        (5, "Level 5", "debug", level.DEBUG),
        (99, "Level 99", "critical", level.ERROR),
    ],
)
def test_numbers_without_a_name_take_the_one_below(number: int, given_name: str, name: str, rank: int) -> None:
    """A level that nobody named is called by the nearest below it; one with a name keeps it."""
    found = level.from_record(number, given_name)
    assert (found.name, found.rank) == (name, rank)


def test_data_used_as_a_level_costs_no_memory() -> None:
    """Names that an application makes up for ever are not all remembered."""
    for number in range(5_000):
        level.from_name(f"made up {number}")
    assert len(level._named) <= 1_000
