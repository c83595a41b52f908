"""An Elasticsearch that asks for passwords and takes small requests only: what a careful operator runs.

Its users are files (the file realm), so a test changes a password or a right by writing a file. Whoever brings no
credentials may ask for the cluster's health only, and `tester` may do everything.
"""

import base64
import hashlib
from pathlib import Path

from dataplane.download import elasticsearch_home, unseen
from dataplane_common.local import ElasticsearchServer

USER = "sink"
TESTER = "tester"
TESTERS_PASSWORD = "test"
#: What the README says that the sink needs.
RIGHTS = ("create_doc", "auto_configure", "read", "view_index_metadata")
#: The least that there is to have on the cluster: to ask for its health.
HEALTH = "cluster:monitor/health"
MAX_REQUEST_BYTES = 1_000_000
_SETTINGS = {
    "xpack.security.enabled": True,
    "xpack.security.authc.anonymous.username": "anybody",
    "xpack.security.authc.anonymous.roles": "anybody",
    "resource.reload.interval.high": "200ms",
    "http.max_content_length": f"{MAX_REQUEST_BYTES}b",
}


class GuardedElasticsearch(ElasticsearchServer):
    """A server with one user, whose password and rights can be changed while it runs."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, elasticsearch_home(unseen), settings=_SETTINGS)

    def prepare(self, ports):
        """Write the users beside the configuration."""
        launch = super().prepare(ports)
        self._write("users_roles", f"sink:{USER}\ntester:{TESTER}\n")
        self.set_password("first")
        self.set_rights(*RIGHTS)
        return launch

    def set_password(self, password: str) -> None:
        """Give the user a password."""
        self._write("users", f"{USER}:{_hashed(password)}\n{TESTER}:{_hashed(TESTERS_PASSWORD)}\n")

    def set_rights(self, *rights: str, cluster: str = "monitor") -> None:
        """Give the user these rights on data streams, and one on the cluster."""
        self._write(
            "roles.yml",
            "tester:\n  cluster: [all]\n  indices:\n    - names: ['*']\n      privileges: [all]\n"
            f"anybody:\n  cluster: ['{HEALTH}']\n"
            f"sink:\n  cluster: ['{cluster}']\n  indices:\n    - names: ['*']\n"
            f"      privileges: [{', '.join(rights)}]\n",
        )

    def _write(self, name: str, text: str) -> None:
        file = self.node_folder / "config" / name
        file.write_text(text)
        file.chmod(0o644)


def _hashed(password: str) -> str:
    digest = base64.b64encode(hashlib.sha1(password.encode()).digest()).decode()  # noqa: S324 - a test's
    return f"{{SHA}}{digest}"
