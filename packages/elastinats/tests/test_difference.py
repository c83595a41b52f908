"""A template's change is shown by what it means, not by how the server spells it."""

from elastinats.difference import difference
from elastinats.setup import templates


def nested(value):
    """Spell a template as the server gives it back: settings nested, numbers and truths as texts."""
    settings = value.get("template", {}).get("settings", {})
    spelled: dict = {}
    for name, setting in settings.items():
        inner = spelled
        *path, last = name.split(".")
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = setting if isinstance(setting, str) else str(setting).lower()
    return {**value, "template": {**value.get("template", {}), **({"settings": spelled} if settings else {})}}


def test_the_servers_spelling_is_no_difference():
    """Every template of ours, as the server gives it back, is unchanged, marks aside."""
    for template in templates(single_node=True):
        assert difference({**nested(template.body), "_meta": {"fingerprint": "x"}}, template.body) == []


def test_what_goes_and_what_comes_is_named_by_its_path():
    """One line for each."""
    present = {"template": {"settings": {"index": {"refresh_interval": "5s", "old": "1"}}}, "priority": 100}
    wanted = {"template": {"settings": {"index.refresh_interval": "1s"}}, "priority": 150, "list": [{"a": 1}]}
    assert difference(present, wanted) == [
        "+ list[0].a: 1",
        "- priority: 100",
        "+ priority: 150",
        "- template.settings.index.old: 1",
        "- template.settings.index.refresh_interval: 5s",
        "+ template.settings.index.refresh_interval: 1s",
    ]


def test_all_of_a_new_template_comes():
    """Nothing is there to go."""
    assert difference(None, {"a": {"b": True}}) == ["+ a.b: true"]
