"""Which Java is taken."""

from pathlib import Path

import pytest

from dataplane_common.local import java

PROPERTIES = """\
Property settings:
    java.class.version = 61.0
    java.home = /usr/lib/jvm/java-17-openjdk-amd64
    java.specification.version = {version}
    java.vm.specification.version = 17

openjdk version "17.0.15" 2025-04-15
"""


@pytest.mark.parametrize(("version", "major"), [("17", 17), ("1.8", 8), ("25", 25)])
def test_javas_word_about_itself_is_read(version: str, major: int) -> None:
    """Home and major version come out of what Java prints; old versions call themselves 1.8."""
    expected = java.Java(Path("/usr/lib/jvm/java-17-openjdk-amd64"), major)
    assert java.parse_properties(PROPERTIES.format(version=version)) == expected


def test_what_is_no_java_is_none() -> None:
    """Another program's output, or an error, is no Java."""
    assert java.parse_properties("Error: could not find libjava.so") is None


def test_the_first_java_that_is_new_enough_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable goes before the path; a Java that is too old, or no program at all, is passed over."""
    for variable, version in (("DATAPLANE_JAVA_HOME", "1.8"), ("ES_JAVA_HOME", "21"), ("JAVA_HOME", "17")):
        home = tmp_path / variable
        _install(home, PROPERTIES.format(version=version).replace("/usr/lib/jvm/java-17-openjdk-amd64", str(home)))
        monkeypatch.setenv(variable, str(home))
    assert java.find_java() == java.Java(tmp_path / "ES_JAVA_HOME", 21)


def test_no_java_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none, the answer is None, not an error."""
    for variable in java._VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(java, "_FOLDERS", {})
    assert java.find_java() is None


def _install(home: Path, says: str) -> None:
    """Put a program there that says what a Java of that version says."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{says}END\n")
    program.chmod(0o755)
