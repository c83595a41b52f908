"""The span that OpenTelemetry says is current.

Flows in: OpenTelemetry's context, where the application has imported it. Flows out: identifiers in hexadecimal.
Invariant: OpenTelemetry is never imported from here.
Source: ECS field set `tracing`; W3C Trace Context.
"""

import sys


def current() -> tuple[str, str] | None:
    """Return (trace id, span id) of the current span, or None if there is no valid one."""
    module = sys.modules.get("opentelemetry.trace")
    if module is None:
        return None
    context = module.get_current_span().get_span_context()
    return (f"{context.trace_id:032x}", f"{context.span_id:016x}") if context.is_valid else None
