"""Which consumer reads what, and where a subject's events go."""

import pytest

from dataplane_common.errors import ConfigError
from elastinats.config import RouteConfig, SinkConfig
from elastinats.routes import feeds, index_patterns, overlap, place

TARGET = "{signal}-{dataset}-{namespace}"


def test_the_default_route_reads_both_streams_whole():
    """Without configuration one durable per stream reads everything, without a filter."""
    found = feeds(SinkConfig())
    assert [(feed.stream, feed.durable, feed.filter_subjects) for feed in found] == [
        ("LOGS", "elastinats_all", ()),
        ("METRICS", "elastinats_all", ()),
    ]


def test_a_part_of_a_stream_is_filtered():
    """A route over some subjects names them to the server."""
    route = RouteConfig(name="web", subjects=("logs.prod.web.>", "logs.prod.api.*"))
    assert feeds(SinkConfig(routes=(route,)))[0].filter_subjects == ("logs.prod.web.>", "logs.prod.api.*")


def test_overlapping_routes_are_refused():
    """No event may be read by two routes; the message names both subjects."""
    routes = (RouteConfig(name="a", subjects=("logs.prod.>",)), RouteConfig(name="b", subjects=("logs.*.web.>",)))
    with pytest.raises(ConfigError, match=r'"logs\.\*\.web\.>" of "b" overlaps "logs\.prod\.>" of "a"'):
        feeds(SinkConfig(routes=routes))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("logs.>", "logs.a", True),
        ("logs.a.*", "logs.*.b", True),
        ("logs.a.b", "logs.a.b", True),
        ("logs.a", "logs.a.b", False),
        ("logs.a.>", "logs.a", False),
        ("logs.a.*", "logs.b.*", False),
        ("*.a", "logs.>", True),
    ],
)
def test_overlap_is_found_in_both_directions(one, other, expected):
    """Two patterns overlap if some subject matches both, whichever comes first."""
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


def test_a_subject_of_an_unknown_stream_must_name_it():
    """Subjects that are neither logs nor metrics need `stream`."""
    with pytest.raises(ConfigError, match="say which stream"):
        feeds(SinkConfig(routes=(RouteConfig(name="old", subjects=("streamer.>",)),)))
    named = RouteConfig(name="old", subjects=("streamer.>",), stream="OLD")
    assert feeds(SinkConfig(routes=(named,)))[0].stream == "OLD"


@pytest.mark.parametrize("subject", ["logs..x", "logs.a b", "logs.>.x", "logs.a*", ""])
def test_what_is_no_subject_is_refused(subject):
    """A pattern that the server would not take is refused at start."""
    with pytest.raises(ConfigError, match="is no subject"):
        feeds(SinkConfig(routes=(RouteConfig(name="a", subjects=(subject,)),)))


@pytest.mark.parametrize("target", ["{host}", "Logs", "-x", "a b"])
def test_a_target_that_cannot_be_a_data_stream_is_refused(target):
    """Targets are lower case and know three placeholders."""
    with pytest.raises(ConfigError, match="target"):
        feeds(SinkConfig(routes=(RouteConfig(name="a", subjects=("logs.>",), target=target),)))


def test_our_subjects_give_their_data_stream():
    """The data stream of a subject is the one that the taxonomy says."""
    found = place("metrics.prod.checkout.web-1", TARGET)
    assert found == ("metrics", "prod", "checkout", "web-1", "metrics-checkout-prod")


@pytest.mark.parametrize(
    ("subject", "target"),
    [
        ("logs.Prod.My-App.Host", "logs-my_app-prod"),
        ("logs.a.b.c.d", "logs-generic-default"),
        ("logs.old", "logs-generic-default"),
        ("streamer.access.log", "logs-generic-default"),
    ],
)
def test_any_subject_has_a_place(subject, target):
    """Four tokens are mended; other subjects are generic."""
    assert place(subject, TARGET).target == target


@pytest.mark.parametrize(
    ("subject", "patterns"),
    [
        ("logs.>", ["logs-*-*"]),
        ("logs.prod.>", ["logs-*-prod"]),
        ("metrics.*.web.h1", ["metrics-web-*"]),
        ("*.prod.web.*", ["logs-web-prod", "metrics-web-prod"]),
        (">", ["logs-*-*", "metrics-*-*"]),
        ("streamer.>", ["logs-generic-default"]),
    ],
)
def test_what_a_route_may_write_to_is_known_as_patterns(subject, patterns):
    """Wildcards of its subjects are wildcards there."""
    route = RouteConfig(name="a", subjects=(subject,), stream="LOGS")
    assert index_patterns(SinkConfig(routes=(route,))) == patterns


def test_a_route_that_drops_writes_nowhere():
    """And one with a target of its own writes there only."""
    routes = (
        RouteConfig(name="a", subjects=("logs.x.>",), drop=True),
        RouteConfig(name="b", subjects=("logs.y.>", "logs.z.>"), target="plain"),
    )
    assert index_patterns(SinkConfig(routes=routes)) == ["plain"]
