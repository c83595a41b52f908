"""Where Elasticsearch comes from, without the network."""

import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from dataplane import download
from dataplane_common.errors import Fatal
from dataplane_common.local import elasticsearch_home as home_folder


def test_a_local_zip_is_used_instead_of_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines without a network name a zip; it is unpacked once, and found again."""
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("elasticsearch-8/bin/elasticsearch", "#!/bin/sh\n")
    monkeypatch.setenv("DATAPLANE_ELASTICSEARCH_ZIP", str(archive))
    home = download.elasticsearch_home()
    assert (home / "bin" / "elasticsearch").exists()
    inode = home.stat().st_ino
    assert download.elasticsearch_home().stat().st_ino == inode
    assert {path.name for path in home.parent.iterdir()} == {home.name, "lock"}


def test_a_local_zip_that_is_none_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong path and a wrong file are named."""
    monkeypatch.setenv("DATAPLANE_ELASTICSEARCH_ZIP", str(tmp_path / "absent.zip"))
    with pytest.raises(Fatal, match=r"absent\.zip: cannot read this zip"):
        download.elasticsearch_home()
    (tmp_path / "absent.zip").write_text("no zip")
    with pytest.raises(Fatal, match=r"absent\.zip: not a complete zip"):
        download.elasticsearch_home()


def test_a_download_with_another_checksum_is_never_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut-off or forged: after three tries the error names the checksum and the way around; nothing is kept."""
    component = _Component(tmp_path / "forged.zip")
    monkeypatch.setattr(download, "_downloader", component.downloader)
    with pytest.raises(Fatal, match=rf"expected {home_folder.SHA256}.*DATAPLANE_ELASTICSEARCH_ZIP"):
        download.elasticsearch_home()
    assert component.resolved == 3
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]


class _Component:
    """A component that brings the wrong file."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(b"forged")
        self._file = file
        self.resolved = 0

    def at_version(self, _version: str) -> "_Component":
        """Stand in for the version."""
        return self

    def artifact(self, **_: str) -> "_Component":
        """Stand in for the artifact."""
        return self

    def resolve(self) -> Path:
        """Bring the file."""
        self.resolved += 1
        return self._file

    def downloader(self) -> SimpleNamespace:
        """Give a downloader that finds this component everywhere; only the network is stood in for."""
        context = SimpleNamespace(project=lambda *_: self)
        return SimpleNamespace(PythonResolver=lambda **_: None, MavenContext=lambda **_: context)
