"""The trace of an exception that has too much to it to be written in a log call.

Flows in: an exception. Flows out: its trace in the words of `traceback`, both ends of everything and a note of what is
left out between. Invariant: whatever is behind an exception, a hundred frames and a dozen exceptions are written.
"""

import traceback
from collections.abc import Iterator
from types import TracebackType

from dataplane_emitter.encode import message_text

#: Frames, of all exceptions together, up to which a trace is written whole: each takes some ten microseconds, and more
#: would hardly fit into an event.
_WHOLE_FRAMES = 150
#: Exceptions up to which they are written whole: the causes and members of one.
_WHOLE_EXCEPTIONS = 30
#: Notes, and characters of one argument: the same.
_WHOLE_NOTES = 100
_WHOLE_CHARACTERS = 100_000
#: What is kept else: frames of all exceptions, a quarter of them where an exception was caught, the rest where it was
#: raised; causes at either end of their chain; members of each group; groups within groups; notes; characters.
_FRAMES = 100
_CAUSES = 6
_MEMBERS = 4
_DEPTH = 2
_NOTES = 10
_CHARACTERS = 4_000
_TITLE = "Traceback (most recent call last):\n"
_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


def is_long(error: BaseException) -> bool:
    """Tell whether there is so much behind an exception that its trace would take milliseconds."""
    seen: set[int] = set()
    waiting = [error]
    frames = 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        frames += _count(one.__traceback__, _WHOLE_FRAMES + 1)
        if frames > _WHOLE_FRAMES or len(seen) + len(waiting) > _WHOLE_EXCEPTIONS or _says_much(one):
            return True
        waiting += [linked for linked in (one.__cause__, one.__context__) if linked is not None]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions[:_WHOLE_EXCEPTIONS]
    return False


def abridged(error: BaseException) -> str:
    """Return the trace of an exception with what is in the middle left out."""
    return "".join(_pieces(error, _FRAMES, 0))


def _says_much(error: BaseException) -> bool:
    notes = getattr(error, "__notes__", ())
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) > _WHOLE_EXCEPTIONS:
        return True
    return (isinstance(notes, list) and len(notes) > _WHOLE_NOTES) or any(
        isinstance(part, str | bytes | bytearray) and len(part) > _WHOLE_CHARACTERS
        for part in (*error.args, *(notes if isinstance(notes, list) else ()))
    )


def _pieces(error: BaseException, frames: int, depth: int) -> Iterator[str]:
    """Yield the text of an exception and of its causes, the first cause first."""
    chain = _chain(error)
    left_out = len(chain) - 2 * _CAUSES
    kept = chain if left_out <= 0 else [*chain[:_CAUSES], *chain[-_CAUSES:]]
    share = max(2, frames // len(kept))
    for number, (link, one) in enumerate(kept):
        if left_out > 0 and number == _CAUSES:
            yield f"\n… {left_out} exceptions left out …\n\n"
        yield from _frames(one.__traceback__, share)
        yield _own_line(one)
        if isinstance(one, BaseExceptionGroup):
            yield from _members(one, share, depth)
        yield link


def _chain(error: BaseException) -> list[tuple[str, BaseException]]:
    """Return an exception behind all that led to it, each with what stands between it and the next one."""
    chain: list[tuple[str, BaseException]] = []
    seen: set[int] = set()
    link, one = "", error
    while True:
        chain.append((link, one))
        seen.add(id(one))
        link, before = _CAUSE, one.__cause__
        if before is None and not one.__suppress_context__:
            link, before = _CONTEXT, one.__context__
        if before is None or id(before) in seen:
            return chain[::-1]
        one = before


def _own_line(error: BaseException) -> str:
    notes = getattr(error, "__notes__", None) or []
    shown = [message_text(note)[:_CHARACTERS] for note in notes[:_NOTES]] if isinstance(notes, list) else []
    more = [f"… {len(notes) - _NOTES} notes left out …"] if len(notes) > _NOTES else []
    message = message_text(error)
    if len(message) > _CHARACTERS:
        half = _CHARACTERS // 2
        message = f"{message[:half]}… characters left out …{message[-half:]}"
    return "\n".join([f"{name_of(type(error))}{': ' if message else ''}{message}", *shown, *more, ""])


def name_of(kind: type[BaseException]) -> str:
    """Return the name of an exception's type as `traceback` shows it."""
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )


def _members(group: BaseExceptionGroup[BaseException], frames: int, depth: int) -> Iterator[str]:
    """Yield the first members of a group, indented."""
    members = group.exceptions[:_MEMBERS] if depth < _DEPTH else ()
    for number, member in enumerate(members, 1):
        yield f"  +---------------- {number} ----------------\n"
        text = "".join(_pieces(member, max(2, frames // _MEMBERS), depth + 1))
        yield "".join(f"  | {line}\n" for line in text.splitlines())
    if len(group.exceptions) > len(members):
        yield f"  +---------------- … {len(group.exceptions) - len(members)} members left out …\n"


def _frames(trace: TracebackType | None, most: int) -> Iterator[str]:
    """Yield the frames of one exception, at most so many."""
    count = _count(trace)
    if not count:
        return
    yield _TITLE
    if count <= most:
        yield from traceback.extract_tb(trace).format()
        return
    caught = max(1, most // 4)
    yield from traceback.extract_tb(trace, limit=caught).format()
    yield f"  … {count - most} frames left out …\n"
    yield from traceback.extract_tb(_behind(trace, count - (most - caught))).format()


def _count(trace: TracebackType | None, most: int = 2**31) -> int:
    count = 0
    while trace is not None and count < most:
        count += 1
        trace = trace.tb_next
    return count


def _behind(trace: TracebackType | None, steps: int) -> TracebackType | None:
    while trace is not None and steps:
        steps -= 1
        trace = trace.tb_next
    return trace
