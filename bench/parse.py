"""How fast lines become events, without reading, framing or publishing: one core, CPU time, best of several rounds.

Run it as `.venv/bin/python bench/parse.py [parser …]`.
"""

import sys
import time
from collections.abc import Callable

import orjson

from dataplane_tailer.config import InputConfig
from dataplane_tailer.render import Origin, Tally, renderer

LINES = 20_000
#: How many lines are rendered at once: about what the tailer reads for one frame.
CHUNK_LINES = 500
ROUNDS = 7
AT = "2026-05-01T10:00:01.000000Z"
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36"


def json_line(number: int) -> str:
    """Return a service's access log line, about 250 bytes, without objects inside."""
    record = {
        "level": "info",
        "time": f"2026-05-01T10:00:{number // 1000 % 60:02}.{number % 1_000_000:06}Z",
        "msg": "request finished",
        "method": "GET",
        "path": f"/api/v1/orders/{number}?expand=lines",
        "status": 200,
        "duration_ms": 12.5,
        "user_agent_text": AGENT,
    }
    return orjson.dumps(record).decode()


def nested_json_line(number: int) -> str:
    """Return a line of about 260 bytes with an object inside."""
    record = {
        "time": f"2026-05-01T10:00:{number // 1000 % 60:02}.{number % 1_000_000:06}Z",
        "level": "info",
        "msg": "request finished in time",
        "logger": "shop.checkout.api",
        "method": "GET",
        "path": f"/api/v1/orders/{number}",
        "status": 200,
        "duration_ms": 12.5,
        "request_id": f"0af7651916cd43dd8448eb211c8{number:05}",
        "user": {"id": f"u-{number}"},
    }
    return orjson.dumps(record).decode()


def ecs_line(number: int) -> str:
    """Return a line of an ECS logger, whose names have dots."""
    return (
        f'{{"@timestamp":"2026-05-01T10:00:{number // 1000 % 60:02}.{number % 1000:03}Z","log.level":"INFO",'
        f'"message":"order {number} was paid","process.thread.name":"main","log.logger":"shop.checkout.Api"}}'
    )


def common_line(number: int) -> str:
    """Return a line of the common log format."""
    address = f"10.{number % 7}.{number % 31}.{number % 251}"
    time_text = f"01/May/2026:10:00:{number // 1000 % 60:02} +0200"
    return f'{address} - - [{time_text}] "GET /shop/item/{number}?ref=home HTTP/1.1" 200 {number % 9000}'


def combined_line(number: int) -> str:
    """Return a line of the combined log format, about 230 bytes."""
    return f'{common_line(number)} "https://www.example.net/shop/" "{AGENT}"'


def squid_line(number: int) -> str:
    """Return a line of Traffic Server's squid format."""
    return (
        f"{1777629600 + number // 1000}.{number % 1000:03} {number % 900} 10.0.{number % 31}.{number % 251} "
        f"TCP_HIT/200 {number % 90000} GET http://www.example.net/img/{number}.png - NONE/- image/png"
    )


def extended2_line(number: int) -> str:
    """Return a line of Traffic Server's extended2 format."""
    return f"{common_line(number)} 200 {number % 9000} 0 0 412 356 530 320 0 DIRECT FIN FIN TCP_MISS"


SAMPLES: dict[str, tuple[dict[str, object], Callable[[int], str]]] = {
    "plain": ({"parser": "plain"}, combined_line),
    "json": ({"parser": "json"}, json_line),
    "json (nested)": ({"parser": "json"}, nested_json_line),
    "json (ECS names)": ({"parser": "json"}, ecs_line),
    "json (merged)": (
        {"parser": "json", "fields": {"labels.team": "shop", "user.domain": "example.net"}},
        nested_json_line,
    ),
    "logfmt": (
        {"parser": "logfmt"},
        lambda n: (
            f'ts=2026-05-01T10:00:00.{n % 1000:03}Z level=info msg="request done" path=/a/{n} status=200 took=12ms'
        ),
    ),
    "regex": (
        {
            "parser": "regex",
            "pattern": r"^(?P<time>\S+) (?P<level>\w+) \[(?P<process__thread__name>[^\]]+)\] (?P<message>.*)",
        },
        lambda n: f"2026-05-01T10:00:00.{n % 1000:03}Z INFO [worker-{n % 9}] the order {n} was paid by invoice",
    ),
    "syslog_rfc3164": (
        {"parser": "syslog"},
        lambda n: f"<134>May  1 10:00:{n // 1000 % 60:02} web-1 sshd[{n}]: Accepted publickey for root from 10.0.0.1",
    ),
    "syslog_rfc5424": (
        {"parser": "syslog"},
        lambda n: (
            f'<134>1 2026-05-01T10:00:00.{n % 1000:03}Z web-1 shop {n} ID47 [shop@32473 order="{n}"] order was paid'
        ),
    ),
    "cri": ({"parser": "cri"}, lambda n: f"2026-05-01T10:00:00.{n:09}Z stdout F order {n} was paid by invoice"),
    "docker": (
        {"parser": "docker"},
        lambda n: f'{{"log":"order {n} was paid\\n","stream":"stdout","time":"2026-05-01T10:00:00.{n:09}Z"}}',
    ),
    "common": ({"parser": "common"}, common_line),
    "combined": ({"parser": "combined"}, combined_line),
    "ats_squid": ({"parser": "ats_squid"}, squid_line),
    "ats_extended2": ({"parser": "ats_extended2"}, extended2_line),
}


def measure(settings: dict[str, object], line_of: Callable[[int], str]) -> tuple[float, float, int]:
    """Return (lines a second, bytes of a line, events that no parser understood)."""
    entry = InputConfig(paths=("/var/log/app.log",), dataset="shop", **settings)  # type: ignore[arg-type]
    tally = Tally()
    fields = {"service.name": "shop", **entry.fields}
    render = renderer(Origin("0123456789abcdef", "/var/log/app.log", "shop", "web-1.example.net", fields), entry, tally)
    lines = [line_of(number).encode() for number in range(LINES)]
    chunks = [lines[start : start + CHUNK_LINES] for start in range(0, LINES, CHUNK_LINES)]
    best_s = float("inf")
    for _ in range(ROUNDS):
        started_s = time.process_time()
        for chunk in chunks:
            render(chunk, 1, 1, AT)
        best_s = min(best_s, time.process_time() - started_s)
    return LINES / best_s, sum(map(len, lines)) / LINES, tally.unparsed


def main() -> None:
    """Print one line of figures per parser."""
    wanted = sys.argv[1:]
    print(f"{'parser':<18}{'bytes':>7}{'M lines/s':>11}{'MB/s':>8}{'µs/line':>9}")
    for name, (settings, line_of) in SAMPLES.items():
        if wanted and name not in wanted:
            continue
        rate, size, failed = measure(settings, line_of)
        note = f"   {failed} not parsed" if failed else ""
        print(f"{name:<18}{size:>7.0f}{rate / 1e6:>11.3f}{rate * size / 1e6:>8.0f}{1e6 / rate:>9.2f}{note}")


if __name__ == "__main__":
    main()
