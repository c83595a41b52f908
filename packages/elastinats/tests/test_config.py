"""A wrong configuration is one line that says where, what, and what to do."""

import pytest

from dataplane_common.errors import ConfigError
from elastinats.config import load_config
from elastinats.show import toml_lines


def test_defaults_need_no_file():
    """The sink runs with nothing configured."""
    config = load_config(None)
    assert config.name == "elastinats"
    assert config.elasticsearch.hosts == ("http://127.0.0.1:9200",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[batch]\nmax_byte = 1", "batch.max_byte: unknown key; did you mean max_bytes?"),
        ("[batch]\nin_flight = 0", "batch.in_flight: 0 is too small"),
        ('[elasticsearch]\nhosts = ["search:9200"]', 'elasticsearch.hosts: "search:9200": expected http://host:port'),
        ('[elasticsearch]\nhosts = ["http://u:p@search:9200"]', "use username and password_file"),
        ('[elasticsearch]\nusername = "u"', "belong together"),
        ('name = "a b"', "letters, digits and _"),
        (
            '[[routes]]\nname = "a"\nsubjects = ["logs.>"]\n[[routes]]\nname = "a"\nsubjects = ["x.>"]',
            "needs its own name",
        ),
        ('[[routes]]\nsubjects = ["logs.>"]', "name: this key is required"),
    ],
)
def test_a_wrong_value_is_named_with_its_place_and_remedy(tmp_path, text, said):
    """Every refusal names the key."""
    file = tmp_path / "elastinats.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


def test_the_environment_gives_lists(monkeypatch):
    """`DATAPLANE_ELASTICSEARCH__HOSTS` takes several hosts with commas."""
    monkeypatch.setenv("DATAPLANE_ELASTICSEARCH__HOSTS", "http://a:1,http://b:2")
    assert load_config(None).elasticsearch.hosts == ("http://a:1", "http://b:2")


RULES = """
[[routes]]
name = "web"
subjects = ["logs.>"]
pipeline = "geo"
rename = { client = "source.ip", "a.b" = "c.d" }
remove = ["secret"]
add = { "service.environment" = "prod", tier = 1 }
"""


@pytest.mark.parametrize("text", ["", RULES])
def test_the_shown_configuration_can_be_read_again(tmp_path, text):
    """What `check` prints is a configuration file."""
    from dataplane_common.config import shown  # noqa: PLC0415 - beside its use

    written = tmp_path / "written.toml"
    written.write_text(text)
    config = load_config(written)
    file = tmp_path / "shown.toml"
    file.write_text("\n".join(toml_lines(shown(config))))
    assert load_config(file) == config
