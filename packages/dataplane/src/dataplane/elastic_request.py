"""One request to an Elasticsearch host: address, TLS, credentials.

Flows in: `[elasticsearch]` and a request. Flows out: status and body. Invariant: nothing is sent before the
server's certificate was found to be the right one, and secrets are read anew for each request.
"""

import base64
import hashlib
import http.client
import ssl
import urllib.parse
from dataclasses import dataclass

from dataplane.settings import ElasticsearchConfig
from dataplane_common.config import mask_url, read_secret
from dataplane_common.errors import ConfigError

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Request:
    """How requests are sent; `timeout_s` is between two bytes."""

    config: ElasticsearchConfig
    timeout_s: float

    def send(self, host: str, method: str, path: str, payload: bytes | None) -> tuple[int, bytes]:
        """Send one request and return (status, body).

        Raises:
            OSError, http.client.HTTPException: the host does not answer, or not in HTTP.
            ConfigError: the address, a certificate or a secret cannot be used.
        """
        parts = _parsed(host)
        connection = self._connection(parts)
        try:
            connection.connect()
            self._check_fingerprint(connection)
            headers = {"Content-Type": "application/json", **self._authorization(parts)}
            connection.request(method, parts.path.rstrip("/") + path, payload, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _connection(self, parts: urllib.parse.SplitResult) -> http.client.HTTPConnection:
        host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self.timeout_s)
        return http.client.HTTPSConnection(host, port, timeout=self.timeout_s, context=self._tls())

    def _tls(self) -> ssl.SSLContext:
        config = self.config
        try:
            context = ssl.create_default_context(cafile=config.ca_file)
            if config.cert_file is not None:
                context.load_cert_chain(config.cert_file, config.key_file)
        except OSError as error:  # what ssl raises is one, too
            files = ", ".join(str(file) for file in (config.ca_file, config.cert_file, config.key_file) if file)
            raise ConfigError(f"elasticsearch: a certificate or key cannot be loaded ({files}): {error}") from error
        if config.fingerprint:  # the certificate itself is compared instead of its signer
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _check_fingerprint(self, connection: http.client.HTTPConnection) -> None:
        expected = (self.config.fingerprint or "").replace(":", "").lower()
        if not expected or not isinstance(connection.sock, ssl.SSLSocket):
            return
        found = hashlib.sha256(connection.sock.getpeercert(binary_form=True) or b"").hexdigest()
        if found != expected:
            raise ConfigError(f"elasticsearch.fingerprint: the server's certificate has {found}, not {expected}")

    def _authorization(self, parts: urllib.parse.SplitResult) -> dict[str, str]:
        config = self.config
        if config.api_key_file is not None:
            return {"Authorization": f"ApiKey {read_secret(config.api_key_file)}"}
        if config.bearer_token_file is not None:
            return {"Authorization": f"Bearer {read_secret(config.bearer_token_file)}"}
        user = config.username or urllib.parse.unquote(parts.username or "")
        if not user:
            return {}
        in_url = urllib.parse.unquote(parts.password or "")
        secret = read_secret(config.password_file) if config.password_file else in_url
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"}


def _parsed(host: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(host)
        is_usable = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ConfigError(f'elasticsearch.hosts: "{mask_url(host)}": expected a URL like http://127.0.0.1:9200')
    return parts
