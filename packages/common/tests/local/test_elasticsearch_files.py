"""The home and the configuration of a local Elasticsearch, without starting one."""

import os
import stat
import zipfile
from pathlib import Path

import pytest

from dataplane_common.errors import Fatal
from dataplane_common.local import ElasticsearchServer, elasticsearch_files
from dataplane_common.local import elasticsearch_home as home_folder


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Give a small zip of the same shape as Elasticsearch's; zipfile keeps no execute bits."""
    file = tmp_path / "elasticsearch.zip"
    with zipfile.ZipFile(file, "w") as content:
        content.writestr("elasticsearch-8/bin/elasticsearch", "#!/bin/sh\n")
        content.writestr("elasticsearch-8/lib/x.jar", "jar" * 10_000)
    return file


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_home_can_be_read_and_run_by_everybody(archive: Path, tmp_path: Path) -> None:
    """Programs get the bits that the zip lost, and a strict umask keeps nobody out."""
    home = tmp_path / "cache" / "home"
    before = os.umask(0o077)
    try:
        home_folder.unpack(archive, home)
    finally:
        os.umask(before)
    assert _mode(home / "bin" / "elasticsearch") == 0o755
    assert _mode(home / "lib" / "x.jar") == 0o644
    assert {_mode(home), _mode(home / "lib"), _mode(home.parent)} == {0o755}


def test_a_cut_off_zip_leaves_no_home(archive: Path, tmp_path: Path) -> None:
    """A download that broke off is refused with one line, and no half home is taken for a whole one later."""
    archive.write_bytes(archive.read_bytes()[:-50])
    home = tmp_path / "cache" / "home"
    with pytest.raises(Fatal, match="not a complete zip of Elasticsearch"):
        home_folder.unpack(archive, home)
    assert list(home.parent.iterdir()) == []


def test_another_zip_is_refused(tmp_path: Path) -> None:
    """A zip without `bin/elasticsearch` is not taken."""
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as content:
        content.writestr("other/readme", "")
    with pytest.raises(Fatal, match="not a complete zip of Elasticsearch"):
        home_folder.unpack(tmp_path / "other.zip", tmp_path / "cache" / "home")


def test_what_a_killed_process_left_is_removed(archive: Path, tmp_path: Path) -> None:
    """A draft of a process that was killed while it unpacked does not stay."""
    home = tmp_path / "cache" / "home"
    (home.parent / ".draft-old" / "deep").mkdir(parents=True)
    home_folder.unpack(archive, home)
    assert [path.name for path in home.parent.iterdir()] == ["home"]


def test_a_checksum_names_the_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A zip that is not there is named in one line."""
    with pytest.raises(Fatal, match=r"absent\.zip: cannot read this zip: No such file"):
        home_folder.checksum(tmp_path / "absent.zip")


def test_settings_are_yaml_and_can_be_overridden() -> None:
    """Each setting is one line of YAML; what a test asks for wins."""
    text = elasticsearch_files.elasticsearch_yml(
        Path("/d"), Path("/l"), {"http": 1, "transport": 2}, {"node.name": "n: 1", "http.max_content_length": "1mb"}
    )
    lines = dict(line.split(": ", 1) for line in text.splitlines())
    assert lines["http.port"] == "1"
    assert lines["node.name"] == '"n: 1"'
    assert lines["xpack.security.enabled"] == "false"
    assert lines["http.max_content_length"] == '"1mb"'


def test_logs_and_heap_are_as_asked() -> None:
    """The garbage collector's log lies in the folder that the tailer reads; heap and more options reach the JVM."""
    text = elasticsearch_files.jvm_options(Path("/l"), 512, ("-XX:TieredStopAtLevel=1",))
    assert "file=/l/gc.log:" in text
    assert {"-Xms512m", "-Xmx512m", "-XX:TieredStopAtLevel=1"} <= set(text.splitlines())
    assert "_server.json" in elasticsearch_files.log4j2_properties()


def test_a_node_writes_only_into_its_own_folder(archive: Path, tmp_path: Path) -> None:
    """Configuration, data and logs lie in the node's folder, which belongs to the account that it runs under."""
    home = tmp_path / "cache" / "home"
    home_folder.unpack(archive, home)
    server = ElasticsearchServer(tmp_path / "es", home, java_home=Path("/usr"))
    home.chmod(0o755)
    try:
        if server.account is not None:
            _let_pass(home)
        launch = server.prepare({"http": 1, "transport": 2})
        config = Path(launch.environment["ES_PATH_CONF"])
        assert config.is_relative_to(server.node_folder)
        assert server.logs.is_relative_to(server.node_folder)
        assert {"elasticsearch.yml", "jvm.options", "log4j2.properties"} == {file.name for file in config.iterdir()}
        assert config.stat().st_uid == (launch.account.uid if launch.account else os.getuid())
        assert launch.environment["ES_JAVA_HOME"] == "/usr"
    finally:
        server.clear()
    assert not server.node_folder.exists()


def test_root_runs_it_under_another_account_where_that_can_go(tmp_path: Path) -> None:
    """As root the data goes where the other account can enter; as anybody else it stays where it was wished."""
    tmp_path.chmod(0o700)
    server = ElasticsearchServer(tmp_path / "es", tmp_path)
    try:
        if os.getuid() == 0:
            assert server.account is not None
            assert server.account.uid != 0
            assert server.node_folder.parent == Path("/var/lib/dataplane")
        else:
            assert server.account is None
            assert server.node_folder == tmp_path / "es" / "node"
    finally:
        server.clear()


def test_a_home_that_the_account_cannot_enter_is_an_error(archive: Path, tmp_path: Path) -> None:
    """One line names the folder and the remedy, before anything is started."""
    home = tmp_path / "cache" / "home"
    home_folder.unpack(archive, home)
    home.chmod(0o000)
    server = ElasticsearchServer(tmp_path / "es", home, java_home=Path("/usr"))
    try:
        with pytest.raises(Fatal, match="cannot enter this folder; set DATAPLANE_CACHE_DIR"):
            server.prepare({"http": 1, "transport": 2})
    finally:
        home.chmod(0o755)
        server.clear()


def _let_pass(folder: Path) -> None:
    """Open the way to a folder in pytest's own, which only its owner may enter."""
    for step in folder.parents:
        if step.stat().st_uid == os.getuid() and step != Path("/"):
            step.chmod(step.stat().st_mode | 0o011)
