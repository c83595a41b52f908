"""A document that looks like one before says what it would say if it were parsed, or is parsed."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastinats.foreign import _UNUSUAL, Context, _from_object
from elastinats.mould import Moulds
from elastinats.routes import Place, place
from elastinats.usual import has_plain_names, is_usual

AT = "2026-11-22T10:15:30.123456Z"
PLACES = [place(subject, "{signal}-{dataset}-{namespace}") for subject in ("logs.prod.web.host-1", "logs.odd")]
names = st.sampled_from(["a", "b", "user id", "größe", "log", "level", "it's [a-z]*"])
scalars = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5) | st.sampled_from(['"', "\\", "/", "\n", "ä", ""])
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6
)
events = st.dictionaries(st.sampled_from(["kind", "dataset", "sequence", "ingested"]), values, max_size=3)
hosts = st.dictionaries(st.sampled_from(["name", "ip"]), values, max_size=2)
moments = st.sampled_from(
    [AT, "2024-02-29T23:59:59.000000Z", "2023-02-29T00:00:00.000000Z", "2026-11-22T24:00:00.000000Z"]
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a document that is shaped as events are, for the most part."""
    parts = {
        "@timestamp": moments, "message": st.text(max_size=5) | values, "event": events, "host": hosts,
        "labels": st.dictionaries(names, values, max_size=2), "ecs": values, "x": values, "_id": st.text(max_size=3),
    }  # fmt: skip
    chosen = draw(st.lists(st.sampled_from([*parts]), unique=True, max_size=len(parts)))
    fields = {name: draw(parts[name]) for name in chosen}
    fields.setdefault("@timestamp", AT)
    return fields


def write(fields: dict[str, Any], *, spaced: bool, ascii_only: bool) -> bytes:
    separators = (", ", ": ") if spaced else (",", ":")
    return json.dumps(fields, separators=separators, ensure_ascii=ascii_only).encode()


def taught(fields: dict[str, Any], piece: bytes) -> Moulds:
    """Return the expressions after one document, with which they would be reached."""
    moulds = Moulds(learn_every=1)
    if is_usual(fields, _UNUSUAL) and has_plain_names(fields):
        moulds.miss(fields, piece, "web")
        moulds.miss(fields, piece, "generic")
    return moulds


def unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def check(moulds: Moulds, piece: bytes, where: Place) -> None:
    """Compare the quick way, where it is taken, with the thorough one."""
    filled = moulds.fill(piece, where)
    if filled is not None:
        fields = orjson.loads(piece)
        assert unrepeated_text(piece) == fields
        assert b"\n" not in filled
        context = Context("logs.prod.web.host-1", where, 0)
        assert unrepeated_text(filled) == json.loads(orjson.dumps(_from_object(fields, context)))


def unrepeated_text(text: bytes) -> Any:
    return json.loads(text, object_pairs_hook=unrepeated)


@given(documents(), documents(), st.booleans(), st.booleans(), st.sampled_from(PLACES))
def test_what_matches_comes_out_as_if_it_were_parsed(fields, other, spaced, ascii_only, where):
    """The document that was learned from, and any other one, in any way of writing."""
    piece = write(fields, spaced=spaced, ascii_only=ascii_only)
    moulds = taught(fields, piece)
    check(moulds, piece, where)
    same_names = {name: other.get(name, value) for name, value in fields.items()}
    check(moulds, write(same_names, spaced=spaced, ascii_only=ascii_only), where)
    check(moulds, write(other, spaced=False, ascii_only=False), where)


edits = st.tuples(
    st.integers(0, 200),
    st.integers(0, 3),
    st.sampled_from([b'"', b"\\", b",", b"0", b"e", b"}", b"\xff", b"\\u", b" ", b""]),
)


@given(documents(), st.lists(edits, max_size=3), st.sampled_from(PLACES))
def test_what_is_no_json_does_not_match(fields, changes, where):
    """A text with anything put in, taken out or replaced is either JSON still, or goes the thorough way."""
    piece = write(fields, spaced=False, ascii_only=False)
    moulds = taught(fields, piece)
    for at, length, instead in changes:
        start = at % (len(piece) + 1)
        piece = piece[:start] + instead + piece[start + length :]
    check(moulds, piece, where)


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"message": 'GET "/" ä\n'}, {}),
        ({"message": "x", "host": {"name": "own"}, "tags": ["a", 1, None]}, {}),
        ({"ecs": {"version": "1"}, "n": -1.5, "o": {"p": {"q": True}}}, {}),
        ({"event": {"sequence": 5, "dataset": "d"}}, {"labels": {"event_sequence": "5", "event_dataset": "d"}}),
    ],
)
@pytest.mark.parametrize("spaced", [False, True])
def test_ordinary_documents_are_learned(fields, changed, spaced):
    """These are taken the quick way from the second one on, with the envelope of where they came from."""
    document = {"@timestamp": AT, **fields}
    piece = write(document, spaced=spaced, ascii_only=False)
    filled = taught(document, piece).fill(piece, PLACES[0])
    assert filled is not None
    envelope = {"host": {"name": "host-1"}, "ecs": {"version": "8.17"}}
    assert json.loads(filled) == {**envelope, **document, **changed, "event": {"dataset": "web"}}


def test_what_is_remembered_has_a_bound():
    """Any number of datasets and of shapes leaves a few expressions."""
    moulds = Moulds(learn_every=1)
    for number in range(200):
        fields = {"@timestamp": AT, f"x{number}": 1}
        moulds.miss(fields, write(fields, spaced=False, ascii_only=False), f"d{number % 100}")
    assert sum(map(len, moulds._known.values())) <= 100


MODEL = b'{"@timestamp":"2026-11-22T10:15:30.123456Z","message":"x","event":{"sequence":5},"n":1}'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *((b'"x"', text) for text in (b'"\x01"', b'"\xff"', b'"\\u00zz"', b'"\\ud800"', b'"\\x"', b'"', b"1", b"null")),
        *((b":5}", b":%b}" % text) for text in (b"05", b"-0", b"1.0", b"", b"9" * 20, b"true", b'"5"')),
        *(
            (b":1}", text)
            for text in (b":01}", b":+1}", b":1.}", b":.5}", b":-}", b":1e5}", b":NaN}", b":9999999999999999999}")
        ),
        *(
            (b"-11-22T10:", text)
            for text in (b"-02-30T10:", b"-13-01T10:", b"-11-22T24:", b"-11-22 10:", b"-00-01T10:")
        ),
        (b'"n"', b'"message"'),
        (b'"n"', b'"m"'),
        (b"}", b"} "),
        (b"{", b" {"),
    ],
)
def test_what_is_written_otherwise_is_parsed(old, new):
    """An expression matches neither what is no JSON, nor what says something else than its model could."""
    moulds = taught(json.loads(MODEL), MODEL)
    assert moulds.fill(MODEL, PLACES[0]) is not None
    assert moulds.fill(MODEL.replace(old, new, 1), PLACES[0]) is None


@pytest.mark.parametrize(
    "more",
    [{"labels": {}, "event": {"sequence": 5}}, {"event": {"sequence": 5.0}}, {"host": {}}, {"_id": "a"}, {"dp": {}}],
)
def test_what_takes_thought_is_not_learned(more):
    """Where labels could meet, a host has no name, or the envelope is contradicted, each document is parsed."""
    fields = {"@timestamp": AT, **more}
    piece = write(fields, spaced=False, ascii_only=False)
    assert taught(fields, piece).fill(piece, PLACES[0]) is None
