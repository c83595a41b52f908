"""After any sequence of writes, rotations, crashes and losses of the bus the stream is exactly what was written.

Flows in: what the model's world has written, and the events of the stream. Flows out: a verdict: no byte twice, no line
missing, ids and sequences without a flaw, but for bytes that the model knows nobody can save.
"""

import re
from collections import defaultdict

import pytest

from dataplane_common.config import environment

#: Steps per seed; a thousand over the seeds. DATAPLANE_MODEL_SEEDS=20-99 plays others.
STEPS = 125
FIRST, _, LAST = (environment("DATAPLANE_MODEL_SEEDS") or "0-7").partition("-")
SEEDS = range(int(FIRST), int(LAST or FIRST) + 1)
#: How a byte that is no UTF-8 is shown: where time cut a line within a character.
ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


def verdict(world, events: list[dict]) -> list[str]:
    """Return what is wrong: an empty list means that every line arrived exactly once and in order."""
    sources = defaultdict(list)
    for event in events:
        sources[event["dp"]["source"]].append(event)
    problems, shipped = [], {}
    placed = {source: place(source, mine, problems) for source, mine in sources.items()}
    for source, parts in sorted(placed.items(), key=lambda item: -sum(map(len, item[1].values()))):
        fits = [g for g in world.generations if all(is_at(g.content, at, text) for at, text in parts.items())]
        free = [generation for generation in fits if generation not in shipped]
        if not free:
            was = [(g.number, shipped[g][0], g.story) for g in fits]
            problems.append(f"{source}: {'doubled ' + str(was) if fits else 'in no file'}: {mismatch(world, parts)}")
        else:  # of several files that begin alike, the one that this is all of
            shipped[min(free, key=lambda g, parts=parts: (len(lacks(g, parts)), -g.must))] = (source, parts)
    for generation in world.generations:
        source, parts = shipped.get(generation, ("-", {}))
        problems += [f"{source} {generation.number} {generation.story}: {what}" for what in lacks(generation, parts)]
    return problems


def is_at(content: bytearray, at: int, text: bytes) -> bool:
    """Tell whether an event may come from this place; one without text is a blank line."""
    return content[at : at + len(text)] == text and (bool(text) or content[at : at + 1] == b"\n")


def mismatch(world, parts: dict[int, bytes]) -> str:
    """Say where a source's text differs from the file that it is most like."""
    ranked = [[at for at, t in parts.items() if g.content[at : at + len(t)] != t] for g in world.generations]
    wrong, number = min((len(wrong), number) for number, wrong in enumerate(ranked))
    at = (ranked[number] or list(parts))[0]
    there = bytes(world.generations[number].content[at : at + len(parts[at])])
    return f"{wrong} of {len(parts)} unlike {number}, first at {at}: {parts[at][-99:]!r}, there {there[-99:]!r}"


def place(source: str, events: list[dict], problems: list[str]) -> dict[int, bytes]:
    """Return the text of a source by offset, pieces of a line joined; sequences must have neither gap nor repeat."""
    events.sort(key=lambda event: event["event"]["sequence"])
    if [event["event"]["sequence"] for event in events] != list(range(1, len(events) + 1)):
        problems.append(f"{source}: sequences {[event['event']['sequence'] for event in events]}")
    parts: dict[int, bytes] = {}
    last = (-1, 0)
    for event in events:
        at, number = event["log"]["offset"], int((event["_id"].partition("-")[2] + ".0").split(".")[1])
        if (at, number) != (last[0], last[1] + 1) and not (at > last[0] and number <= 1):
            problems.append(f"{source}: {event['_id']} after {last}")
        text = ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()), event["message"].encode())
        parts[at] = (parts.get(at, b"") if number > 1 else b"") + text
        last = (at, number)
    return parts


def lacks(generation, parts: dict[int, bytes]) -> list[str]:
    """Return which bytes of a file are in no event, or in two."""
    content, found = generation.content, []
    covered = bytearray(len(content))
    for at, text in parts.items():
        if any(covered[at : at + len(text)]):
            found.append(f"twice: {at} {text[:80]!r}")
        covered[at : at + len(text)] = b"\x01" * len(text)
        if not text and content[at : at + 1] != b"\n":
            found.append(f"an empty event at {at}: {bytes(content[max(0, at - 20) : at + 20])!r}")
    missing = [at for at in range(generation.must) if not covered[at] and content[at] not in b"\r\n"]
    blank = [at for at in range(generation.must) if content[at] == 10 and (at == 0 or content[at - 1] == 10)]
    missing += [at for at in blank if at not in parts]
    if missing:
        found.append(f"lost {len(missing)} of {len(content)} from {missing[0]}: {content[missing[0] :][:80]!r}")
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_each_line_arrives_once(lab, world_of, run, seed):
    """Each line is in the stream once, in order, or known to be one that nobody could save."""
    world = world_of(seed)

    async def work():
        await world.start()
        await world.play(STEPS)
        await world.finish()
        return await lab.everything()

    problems = verdict(world, run(work()))
    assert not problems, f"seed {seed}, inside {world.inside}, story {' '.join(world.story)}\n" + "\n".join(problems)
