"""A route's rules change what they name, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane_common.errors import ConfigError
from elastinats.config import RouteConfig, SinkConfig
from elastinats.routes import feeds
from elastinats.rules import Rules, rules_of

names = st.sampled_from(["a", "b", "a.b", "a.c", "b.c.d"])
documents = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from(["a", "b", "c", "a.b", "c.d"]), inner), max_leaves=6
)


def changed(document: dict, rename=None, remove=(), add=None) -> dict:
    rules_of(rename or {}, remove, add or {}).apply(document)
    return document


def flat(value, path=()) -> dict[str, object]:
    if not isinstance(value, dict):
        return {".".join(path): value}
    return {name: leaf for key, inner in value.items() for name, leaf in flat(inner, (*path, key)).items()}


@pytest.mark.parametrize("written", [{"user": {"name": "u"}}, {"user.name": "u"}])
def test_a_field_is_found_nested_or_dotted(written):
    """Both are one field for Elasticsearch."""
    assert flat(changed(dict(written), rename={"user.name": "who"})) == {"who": "u"}
    assert flat(changed({"user": {"name": "u"}, "x": 1}, remove=["user.name"])) == {"x": 1}


def test_nothing_is_overwritten():
    """A name that is taken keeps its value, and so does the field that was to be renamed."""
    document = {"a": 1, "b": 2}
    assert changed(dict(document), rename={"a": "b"}, add={"b": 3}) == document


def test_rules_apply_in_order():
    """Renamed, then removed, then added."""
    assert changed({"a": 1}, rename={"a": "b"}, remove=["b"], add={"b": 2}) == {"b": 2}


def test_an_added_field_goes_where_its_object_is():
    """Beside its siblings, or under its dotted name where there are none."""
    assert changed({"service": {"name": "s"}}, add={"service.environment": "prod"}) == {
        "service": {"name": "s", "environment": "prod"}
    }
    assert changed({}, add={"service.environment": "prod"}) == {"service.environment": "prod"}


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), documents), names)
def test_what_is_removed_is_gone_and_the_rest_stays(document, name):
    """Whatever the shape; an object goes with all that is in it."""
    before = flat(document)
    after = flat(changed(document, remove=[name]))
    assert name not in after
    assert after.items() <= before.items()
    assert all(key == name or key.startswith(f"{name}.") for key in before.keys() - after.keys())


@pytest.mark.parametrize("rules", [{"remove": ("@timestamp",)}, {"rename": {"a": "_id"}}, {"add": {"dp.source": "x"}}])
def test_the_envelope_cannot_be_changed(rules):
    """A rule that would unmake the event is refused at the start."""
    with pytest.raises(ConfigError, match="no rule may change"):
        feeds(SinkConfig(routes=(RouteConfig(name="r", subjects=("logs.>",), **rules),)))


def test_no_rules_are_false():
    """So that the quick way is taken."""
    assert not Rules()
    assert Rules(remove=("a",))
