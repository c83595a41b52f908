"""What logrotate does to which files: enough of its configuration's syntax to know. Pure, but for reading the files.

Flows in: `/etc/logrotate.conf` and what it includes. Flows out: rules, each with its place. Invariant: what is not
understood is passed over; a rule is never invented. Source: logrotate(8).
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from wcmatch import glob

_CONFIG = "etc/logrotate.conf"
_SCRIPTS = frozenset({"postrotate", "prerotate", "firstaction", "lastaction", "preremove"})
#: Names that logrotate does not include (its own list).
_TABOO = (",v", ".bak", ".cfsaved", ".disabled", ".dpkg-bak", ".dpkg-del", ".dpkg-dist", ".dpkg-new", ".dpkg-old",
          ".dpkg-tmp", ".new", ".old", ".orig", ".rhn-cfg-tmp-*", ".rpmnew", ".rpmorig", ".rpmsave", ".swp",
          ".ucf-dist", ".ucf-new", ".ucf-old", "~")  # fmt: skip
#: Includes within includes; a circle ends here.
_DEPTH = 8
_WORD = re.compile(r"\"([^\"]*)\"|'([^']*)'|((?:\\.|[^\s\"'\\])+)")


@dataclass(frozen=True, slots=True)
class Options:
    """The options that decide whether bytes can be lost."""

    copytruncate: bool = False
    olddir: str = ""
    rotate: int = 0
    compress: bool = False
    delaycompress: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One block: which files, how, and where that is written."""

    patterns: tuple[str, ...]
    options: Options
    place: str

    def concerns(self, path: str) -> bool:
        """Tell whether logrotate rotates a file by this rule."""
        return any(glob.globmatch(path, pattern) for pattern in self.patterns)


@dataclass(slots=True)
class _Reader:
    """Reads one configuration with its includes; the options outside of blocks hold for the blocks behind them."""

    root: Path
    options: Options = field(default_factory=Options)
    rules: list[Rule] = field(default_factory=list)

    def read(self, file: Path, depth: int = _DEPTH) -> None:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            return
        place = f"/{file.relative_to(self.root)}"
        for statement in statements(text):
            match statement:
                case Block():
                    options = _apply(self.options, statement.directives)
                    self.rules.append(Rule(statement.patterns, options, f"{place}:{statement.line}"))
                case ["include", target, *_] if depth > 0:
                    self._include(file, target, depth - 1)
                case [*words]:
                    self.options = _apply(self.options, [words])

    def _include(self, file: Path, target: str, depth: int) -> None:
        found = self.root / target.lstrip("/") if target.startswith("/") else file.parent / target
        files = sorted(found.iterdir()) if found.is_dir() else [found]
        for included in files:
            if included.is_file() and not included.name.endswith(_TABOO):
                self.read(included, depth)


@dataclass(frozen=True, slots=True)
class Block:
    """`patterns { directives }` as it is written."""

    patterns: tuple[str, ...]
    directives: list[list[str]]
    line: int


def read_rules(root: Path = Path("/")) -> list[Rule]:
    """Return the rules of the configuration below `root`; none where there is no logrotate, or it may not be read."""
    reader = _Reader(root)
    reader.read(root / _CONFIG)
    return reader.rules


def statements(text: str) -> Iterator["Block | list[str]"]:
    """Yield what a configuration says: blocks, and the words of each directive outside of them. Pure."""
    lines = iter(enumerate(_without_scripts(text.splitlines()), 1))
    patterns: list[str] = []
    for number, line in lines:
        words, opens, rest = _split_at_brace(line, is_pattern=bool(patterns))
        if opens:
            patterns += words
            yield Block(tuple(patterns), list(_directives(rest, lines)), number)
            patterns = []
        elif words and _is_pattern(words[0]):
            patterns += words
        elif words:
            yield words


def _without_scripts(lines: Iterable[str]) -> Iterator[str]:
    """Blank comments and the lines of scripts, in which braces and names mean something else."""
    in_script = False
    for line in lines:
        word = line.split("#", 1)[0].strip() if not in_script else line.strip()
        if in_script:
            in_script = word != "endscript"
            yield ""
        else:
            in_script = word in _SCRIPTS
            yield "" if line.lstrip().startswith("#") else line


def _directives(rest: str, lines: Iterator[tuple[int, str]]) -> Iterator[list[str]]:
    """Yield the directives of a block up to its closing brace."""
    while True:
        inside, closes, _ = rest.partition("}")
        if words := _words(inside):
            yield words
        if closes:
            return
        following = next(lines, None)
        if following is None:
            return
        rest = following[1]


def _split_at_brace(line: str, *, is_pattern: bool) -> tuple[list[str], bool, str]:
    """Return the words before the `{` that opens a block; logrotate knows no braces in patterns."""
    start = line.lstrip()[:1]
    if "{" not in line or not (is_pattern or start in ("/", "~", '"', "'", "{")):
        return _words(line), False, ""
    before, _, rest = line.partition("{")
    return _words(before), True, rest


def _words(text: str) -> list[str]:
    words = []
    for double, single, bare in _WORD.findall(text):
        if bare.startswith("#"):
            break
        words.append(double or single or re.sub(r"\\(.)", r"\1", bare))
    return words


def _is_pattern(word: str) -> bool:
    return word.startswith(("/", "~"))


def _apply(options: Options, directives: Iterable[list[str]]) -> Options:
    """Return the options with directives applied; a later one wins."""
    for name, *arguments in directives:
        argument = arguments[0].lstrip("=") if arguments else ""
        match name:
            case "copytruncate" | "nocopytruncate":
                options = replace(options, copytruncate=name == "copytruncate")
            case "compress" | "nocompress":
                options = replace(options, compress=name == "compress")
            case "delaycompress" | "nodelaycompress":
                options = replace(options, delaycompress=name == "delaycompress")
            case "olddir" if argument:
                options = replace(options, olddir=argument)
            case "noolddir":
                options = replace(options, olddir="")
            case "rotate" if argument.isdigit():
                options = replace(options, rotate=int(argument))
    return options


def old_folder(rule: Rule, path: str) -> str:
    """Return the folder that rotated files of a path go to. Pure."""
    folder = os.path.dirname(path)  # noqa: PTH120 - strings stay strings on this path
    return os.path.normpath(os.path.join(folder, rule.options.olddir)) if rule.options.olddir else folder  # noqa: PTH118
