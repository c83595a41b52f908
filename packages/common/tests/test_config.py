"""Rules of the configuration."""

from pathlib import Path

import msgspec
import pytest

from dataplane_common import config
from dataplane_common.config import NatsConfig
from dataplane_common.errors import ConfigError


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of a list."""

    paths: tuple[str, ...]
    name: str = ""


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A configuration like those of the services."""

    namespace: str = "default"
    nats: NatsConfig = NatsConfig()
    inputs: tuple[Entry, ...] = ()
    size: int = 1


def _load(tmp_path: Path, text: str, overrides: dict | None = None) -> Example:
    file = tmp_path / "example.toml"
    file.write_text(text)
    return config.load(Example, file, overrides)


def test_each_layer_covers_the_one_below(tmp_path, monkeypatch):
    """Defaults < stack file < file < environment < command line, key by key."""
    monkeypatch.setenv("DATAPLANE_STACK_DIR", str(tmp_path))
    (tmp_path / "stack.toml").write_text('other = 1\n[nats]\nservers = ["nats://stack:1"]\nuser = "stack"')
    assert config.load(Example).nats.servers == ("nats://stack:1",)
    text = '[nats]\nservers = ["nats://file:1"]\nconnect_timeout_s = 1'
    assert _load(tmp_path, text).nats == NatsConfig(servers=("nats://file:1",), user="stack", connect_timeout_s=1)
    monkeypatch.setenv("DATAPLANE_NATS__SERVERS", "nats://env:1, nats://env:2")
    monkeypatch.setenv("DATAPLANE_NATS__CONNECT_TIMEOUT_S", "2.5")
    monkeypatch.setenv("DATAPLANE_ELASTICSEARCH__HOSTS", "somebody else's")
    found = _load(tmp_path, text)
    assert (found.nats.servers, found.nats.connect_timeout_s) == (("nats://env:1", "nats://env:2"), 2.5)
    found = _load(tmp_path, text, {"nats": {"servers": ["nats://line:1"], "user": None}})
    assert (found.nats.servers, found.nats.user) == (("nats://line:1",), "stack")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[nats]\nservrs = []", "nats.servrs: unknown key; did you mean servers?"),
        ("nonsense = 1", "nonsense: unknown key; known here: namespace, nats, inputs, size"),
        ('size = "x"', "size: expected `int`, got `str`"),
        ("[[inputs]]\npaths = []\n[[inputs]]\nname = 'x'", "inputs.1.paths: this key is required"),
        ("[[inputs]]\npaths = 'x'", "inputs.0.paths: expected `array`"),
        ("[nats", "not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(tmp_path, text, message):
    """One line: where, which key, what is wrong, what is known."""
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/example.toml: ")
    assert message in str(caught.value)


def test_a_mistake_in_the_environment_is_named_as_such(tmp_path, monkeypatch):
    """The layer that holds the wrong value is the one that is named."""
    monkeypatch.setenv("DATAPLANE_NATS__SERVRS", "x")
    with pytest.raises(ConfigError, match=r"the environment: nats\.servrs: unknown key"):
        _load(tmp_path, "")


def test_a_value_may_be_named_like_the_section_of_another_program(tmp_path, monkeypatch):
    """Programs of one host share their environment: what is a section of one may be a single value of the other."""
    monkeypatch.setenv("DATAPLANE_NAMESPACE__LINGER_MS", "20")
    monkeypatch.setenv("DATAPLANE_NAMESPACE", "prod")
    assert _load(tmp_path, "").namespace == "prod"


def test_a_variable_may_be_named_like_anothers_section(tmp_path, monkeypatch):
    """Names under our prefix that fit no settings, in whatever order they come, are passed over."""
    monkeypatch.setenv("DATAPLANE_OTHER", "x")
    monkeypatch.setenv("DATAPLANE_OTHER__PART__KEY", "y")
    monkeypatch.setenv("DATAPLANE_OTHER__PART", "z")
    assert _load(tmp_path, "") == Example()


def test_what_types_cannot_say_is_checked_with_its_origin(tmp_path):
    """A check's own error gets the layer of its key in front."""

    def check(_loaded: Example) -> None:
        raise ConfigError("size: too small; at least 2")

    (tmp_path / "x.toml").write_text("size = 1")
    with pytest.raises(ConfigError, match=r"x\.toml: size: too small"):
        config.load(Example, tmp_path / "x.toml", check=check)


def test_files_that_cannot_be_read_are_one_line(tmp_path):
    """Configuration and secrets: path, reason, remedy."""
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot read.*No such file.*check the path"):
        config.load(Example, tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match=r"secret.*cannot read"):
        config.read_secret(tmp_path / "secret")


def test_secrets_are_not_shown(tmp_path):
    """The effective configuration shows no password, also not one inside a URL."""
    shown = config.shown(_load(tmp_path, '[nats]\nservers = ["nats://me:hunter2@host:4222"]\npassword_file = "/p"'))
    assert shown["nats"]["servers"] == ["nats://***@host:4222"]
    assert shown["nats"]["password_file"] == "/p"
    assert "hunter2" not in str(shown)


@pytest.mark.parametrize("secret", ["hunter2", "hunt/er2", "hunt@er2", "h:u:nter2?#"])
def test_a_url_is_shown_without_its_user(secret: str) -> None:
    """No text about a server has a password: the `repr` of a configuration, as traces show it, or a refusal."""
    url = f"nats://me:{secret}@host:4222"
    assert config.mask_url(f"{url}, {url}: refused") == "nats://***@host:4222, nats://***@host:4222: refused"
    try:
        said = repr(NatsConfig(servers=(url,)))
    except ConfigError as error:
        said = str(error)
    assert said
    assert secret not in said


@pytest.mark.parametrize("url", ["natz://x", "nats//x", "nats://x:99999", "nats://", "nats://x/logs"])
def test_a_server_that_is_none_is_refused_with_its_origin(tmp_path, url):
    """What no server can ever be reached by is a mistake, said at once, where it was made and how it is mended."""
    text = f'[nats]\nservers = ["nats://a:4222", "{url}"]\n'
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert str(caught.value).startswith(f'{tmp_path}/example.toml: nats.servers.1: "{url}" is no server\'s URL: ')
    assert str(caught.value).endswith("; give nats://HOST:PORT")
    assert NatsConfig(servers=("a:4222",)).servers == ("nats://a:4222",)
