"""The configuration of the original elastinats (2016-2018, JSON) as TOML of this one.

Pure but for reading the file. Flows in: its JSON. Flows out: lines of TOML, with a comment for whatever has no
equivalent. Invariant: what is printed can be run, and nothing that the original said is passed over in silence.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataplane_common.errors import ConfigError
from dataplane_common.taxonomy import token

_STREAMS = ("logs", "metrics")
_DEFAULT_PORT = 9200
_GO_TEMPLATE = re.compile(r"\{\{.*?\}\}")
_NOTHING_TO_SAY = frozenset({"subject", "group", "elastic_conf"})
_ELASTIC = frozenset({"hosts", "port", "index", "type", "batch_size", "batch_timeout_sec"})
_NATS = {"cert_file": "cert_file", "key_file": "key_file"}


def translate(file: Path) -> list[str]:
    """Return the equivalent TOML.

    Raises:
        ConfigError: the file cannot be read, is no JSON, or has no `subjects`.
    """
    original = _read(file)
    subjects = [entry for entry in original["subjects"] if isinstance(entry, dict) and "subject" in entry]
    if not subjects:
        raise ConfigError(f'{file}: subjects: none with a "subject"; is this a configuration of elastinats?')
    targets = [_elastic(entry, original) for entry in subjects]
    lines = [*_head(subjects), "", *_nats(original), "", "[elasticsearch]", f"hosts = {json.dumps(_hosts(targets[0]))}"]
    lines += _batch(targets)
    for number, (entry, target) in enumerate(zip(subjects, targets, strict=True)):
        lines += ["", *_route(number, entry, target, _hosts(targets[0]))]
    unknown = original.keys() - {"subjects", "nats_conf", "elastic_conf"}
    return lines + [f"# not carried over: {name} = {json.dumps(original[name])}" for name in sorted(unknown)]


def _read(file: Path) -> dict[str, Any]:
    try:
        original = json.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"{file}: cannot read it: {error.strerror}; check the path and its mode") from error
    except ValueError as error:
        raise ConfigError(f"{file}: not valid JSON: {error}") from error
    if not isinstance(original, dict) or not isinstance(original.get("subjects"), list):
        raise ConfigError(f"{file}: subjects: missing; is this a configuration of elastinats?")
    return original


def _elastic(entry: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    found = entry.get("elastic_conf") or original.get("elastic_conf") or {}
    return found if isinstance(found, dict) else {}


def _hosts(target: dict[str, Any]) -> list[str]:
    port = target.get("port") or _DEFAULT_PORT
    named = [str(host) for host in target.get("hosts") or ["127.0.0.1"]]
    full = [host if "://" in host else f"http://{host}" for host in named]
    return [host if re.search(r":\d+$", host) else f"{host}:{port}" for host in full]


def _head(subjects: list[dict[str, Any]]) -> Iterator[str]:
    groups = [str(entry["group"]) for entry in subjects if entry.get("group")]
    yield f"name = {json.dumps(token(groups[0]) if groups else 'elastinats')}"
    if len(set(groups)) > 1:
        yield f"# groups became one name, because sinks of one name share all of their routes: {', '.join(groups)}"


def _nats(original: dict[str, Any]) -> list[str]:
    conf = original.get("nats_conf") or {}
    lines = ["[nats]", f"servers = {json.dumps(conf.get('servers') or ['nats://127.0.0.1:4222'])}"]
    tls = [f"{ours} = {json.dumps(conf[theirs])}" for theirs, ours in _NATS.items() if conf.get(theirs)]
    authorities = conf.get("ca_files") or []
    if authorities:
        tls.append(f"ca_file = {json.dumps(authorities[0])}")
        tls += [f"# put this certificate into ca_file, too: {name}" for name in authorities[1:]]
    return [*lines, "", "[nats.tls]", *tls] if tls else lines


def _batch(targets: list[dict[str, Any]]) -> list[str]:
    counts = [int(target["batch_size"]) for target in targets if target.get("batch_size")]
    waits = [float(target["batch_timeout_sec"]) for target in targets if target.get("batch_timeout_sec")]
    lines = [f"max_count = {max(counts)}"] if counts else []
    lines += [f"linger_ms = {round(min(waits) * 1000)}"] if waits else []
    return ["", "[batch]", *lines] if lines else []


def _route(number: int, entry: dict[str, Any], target: dict[str, Any], hosts: list[str]) -> Iterator[str]:
    subject, signal = str(entry["subject"]), str(entry["subject"]).split(".")[0]
    yield "[[routes]]"
    yield f'name = "route_{number + 1}"'
    yield f"subjects = {json.dumps([subject])}"
    if signal not in _STREAMS:
        yield 'stream = "ORIGINAL"'
        yield f"# elastinats reads streams: nats stream add ORIGINAL --subjects '{subject}'"
    if index := str(target.get("index") or ""):
        plain = _GO_TEMPLATE.sub("", index).strip("-_.")
        yield f'target = "{signal if signal in _STREAMS else "logs"}-{token(plain or "generic")}-default"'
        yield f"# a data stream rolls over by itself; it was the index {json.dumps(index)}"
    if _hosts(target) != hosts:
        yield f"# it wrote to {', '.join(_hosts(target))}: move this route to a sink of another name with these hosts"
    if target.get("type"):
        yield f"# Elasticsearch has no types any more: {target['type']}"
    rest = {**{k: entry[k] for k in entry.keys() - _NOTHING_TO_SAY}, **{k: target[k] for k in target.keys() - _ELASTIC}}
    for name in sorted(rest):
        yield f"# not carried over: {name} = {json.dumps(rest[name])}"
