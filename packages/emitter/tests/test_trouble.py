"""Exceptions as `error.*`."""

from dataplane_emitter import trouble


class _BadText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def _raised(error: BaseException) -> BaseException:
    try:
        raise error  # noqa: TRY301 - what this is for
    except BaseException as caught:  # noqa: BLE001 - what this is for
        return caught


def test_causes_groups_and_notes_are_all_in_the_trace() -> None:
    """A trace has the exception, its cause, the members of a group, and the notes."""
    group = ExceptionGroup("several", [ValueError("first"), KeyError("second")])
    group.add_note("try again later")
    outer = RuntimeError("outer")
    outer.__cause__ = group
    error = trouble.from_exception(_raised(outer))
    assert error is not None
    assert (error["type"], error["message"]) == ("RuntimeError", "outer")
    for part in ("first", "second", "try again later", "direct cause", "several"):
        assert part in error["stack_trace"]


def test_true_means_the_exception_being_handled() -> None:
    """`exc_info=True` is the current exception, and nothing where there is none."""
    try:
        raise LookupError("here")  # noqa: TRY301 - as above
    except LookupError:
        error = trouble.from_exc_info(True)
    assert error is not None
    assert error["message"] == "here"
    assert trouble.from_exc_info(True) is None
    assert trouble.from_exc_info((None, None, None)) is None


def test_an_exception_whose_text_raises_is_described() -> None:
    """The exception's own code cannot hurt."""
    error = trouble.from_exception(_raised(_BadText()))
    assert error is not None
    assert error["type"].endswith("_BadText")
    assert "_BadText" in error["message"]
    assert "Traceback" in error["stack_trace"]


def test_an_endless_trace_keeps_both_ends() -> None:
    """A long trace is cut in the middle: cause and place of catching stay."""
    error = trouble.from_exception(_raised(ValueError("begin" + "x" * 100_000 + "end")))
    assert error is not None
    assert len(error["stack_trace"]) < 33_000
    assert "Traceback" in error["stack_trace"]
    assert error["stack_trace"].rstrip().endswith("end")


def test_a_formatted_trace_tells_its_type() -> None:
    """A trace that a renderer has made already still gives type and message."""
    text = 'Traceback (most recent call last):\n  File "x"\nmodule.Boom: it broke: badly\n'
    assert trouble.from_text(text) == {"type": "module.Boom", "message": "it broke: badly", "stack_trace": text}
    assert "type" not in trouble.from_text("just words: here")
