"""Ports: the one that is wished for, or another one, and which."""

import socket

from dataplane_common.local.ports import LOOPBACK, Port, free_port, is_free


def test_a_free_port_is_given_as_wished() -> None:
    """A port that nobody has is given, and nothing needs to be said."""
    wished = free_port().number
    assert free_port(wished) == Port(wished, None)


def test_a_taken_port_is_replaced_and_named() -> None:
    """A port that somebody has is replaced by a free one; the caller learns which it would have been."""
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        taken = other.getsockname()[1]
        port = free_port(taken)
        assert port.wished == taken
        assert port.number != taken
        assert is_free(port.number)


def test_a_made_up_port_lies_below_the_ephemeral_range() -> None:
    """No outgoing connection can take the port while its server restarts."""
    assert all(20_000 <= free_port().number < 32_768 for _ in range(20))
