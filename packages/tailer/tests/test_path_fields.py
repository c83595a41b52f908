"""Rules of fields from paths, and of filters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcmatch import glob

from dataplane_common.errors import ConfigError
from dataplane_tailer.filters import FilterConfig, decider
from dataplane_tailer.path_fields import check_paths, fields_reader, glob_of

FLAGS = glob.GLOBSTAR | glob.BRACE | glob.DOTGLOB


@pytest.mark.parametrize(
    ("pattern", "path", "fields"),
    [
        ("/var/log/{service}/*.log", "/var/log/shop/a.log", {"service.name": "shop"}),
        ("/var/log/{service}/*.log", "/var/log/shop/x/a.log", {}),
        ("/var/log/{tenant}/{cloud.region}.log", "/var/log/t1/eu.log", {"labels.tenant": "t1", "cloud.region": "eu"}),
        ("/var/log/{service}-*.{log,txt}", "/var/log/a-b-1.txt", {"service.name": "a-b"}),
        ("/v/{service}/**/{service}.log", "/v/shop/x/y/shop.log", {"service.name": "shop"}),
        ("/v/{service}/**/{service}.log", "/v/shop/x/y/cart.log", {}),
        ("/v/{1..3}/{service}", "/v/2/shop", {"service.name": "shop"}),
        ("/v/{1..3}/{service}", "/v/4/shop", {}),
        ("/v/[ab]{x}?", "/v/a1z", {"labels.x": "1"}),
        ("/v/{a,{b}}/x", "/v/q/x", {"labels.b": "q"}),
        ("/v/{a,{b}}/x", "/v/a/x", {}),
        ("/v/*.log", "/v/a.log", {}),
        (
            "/var/log/pods/{namespace}_{pod}_*/{container}/*.log",
            "/var/log/pods/prod_web-1_0af/nginx/0.log",
            {"orchestrator.namespace": "prod", "orchestrator.resource.name": "web-1", "container.name": "nginx"},
        ),
    ],
)
def test_placeholders_become_fields(pattern: str, path: str, fields: dict[str, str]) -> None:
    """A placeholder stands for what `*` takes; braces with a comma or a range stay globs."""
    assert fields_reader([pattern])(path) == fields


PIECES = st.sampled_from(["{service}", "{x}", "*", "a", "b.log", "{a,b}", "?", "/", "/**/", "[ab]", "."])
#: Paths as a search finds them: without `.` and `..`.
PATHS = (
    st.lists(st.sampled_from(["a", "b", "/", ".", "b.log", "x"]), max_size=6)
    .map(lambda parts: "/" + "".join(parts))
    .filter(lambda path: {".", ".."}.isdisjoint(path.split("/")))
)


@given(st.lists(PIECES, max_size=5).map(lambda parts: "/{first}" + "".join(parts)), PATHS)
def test_a_path_has_fields_only_where_the_glob_finds_it(pattern: str, path: str) -> None:
    """Search and fields agree; a repeated name may refuse what the glob alone would take."""
    try:
        check_paths([pattern])
    except ConfigError as error:
        assert "nothing between" in str(error)  # noqa: PT017 - the others are tried below
        return
    fields = fields_reader([pattern])(path)
    if fields:
        assert glob.globmatch(path, glob_of(pattern), flags=FLAGS)
    elif pattern.count("{service}") < 2 and pattern.count("{x}") < 2:
        assert not glob.globmatch(path, glob_of(pattern), flags=FLAGS)


def test_the_first_pattern_that_matches_gives_the_fields() -> None:
    """An input may have several patterns, some without placeholders."""
    fields = fields_reader(["/a/*.log", "/b/{x}.log", "/{y}/*.log"])
    assert [fields(path) for path in ("/b/q.log", "/c/q.log", "/c/q.txt")] == [{"labels.x": "q"}, {"labels.y": "c"}, {}]
    assert fields_reader(["/a/*.log", "/{y}/*.log"])("/a/q.log") == {"labels.y": "a"}


@given(st.text(alphabet="abc", max_size=4))
def test_rules_are_tried_in_turn(text: str) -> None:
    """The first rule that is against a line drops it, under its own name."""
    decide = decider([FilterConfig(drop="a"), FilterConfig(keep="b")])
    assert decide is not None
    assert decide(text) == ('drop "a"' if "a" in text else None if "b" in text else 'keep "b"')


def test_without_rules_nothing_is_decided() -> None:
    """An input without filters pays nothing for them."""
    assert decider([]) is None
