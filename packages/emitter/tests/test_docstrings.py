"""What the docstrings show is what happens."""

import doctest
import importlib
import pkgutil

import pytest

import dataplane_emitter

_MODULES = [found.name for found in pkgutil.iter_modules(dataplane_emitter.__path__, "dataplane_emitter.")]
_FINDER = doctest.DocTestFinder(exclude_empty=True)


@pytest.mark.parametrize("name", _MODULES)
def test_examples_run_as_printed(name: str) -> None:
    """Each module's examples give what is printed beside them."""
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner()
    said: list[str] = []
    for example in _FINDER.find(module):
        runner.run(example, out=said.append)
    assert runner.failures == 0, "".join(said)


@pytest.mark.parametrize("name", sorted({*dataplane_emitter.__all__} - {"ConfigError"}))
def test_each_public_name_has_an_example(name: str) -> None:
    """Who asks for help on a public name finds a few lines to copy."""
    public = getattr(dataplane_emitter, name)
    assert any(test.examples for test in _FINDER.find(public, name))
