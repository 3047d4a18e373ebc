"""Reads OTLP requests in JSON, one a line, by OpenTelemetry's own definition, which knows no field but its own, and prints their
spans as JSON lines of ids, name and kind."""

import base64
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

IDS = {"traceId", "spanId", "parentSpanId"}


def plain(value):
    """The mapping of OTLP differs from that of Protobuf in ids alone: hexadecimal, not base64."""
    if isinstance(value, dict):
        return {
            key: base64.b64encode(bytes.fromhex(inner)).decode() if key in IDS else plain(inner)
            for key, inner in value.items()
        }
    return [plain(inner) for inner in value] if isinstance(value, list) else value


for line in sys.stdin:
    request = json_format.ParseDict(plain(json.loads(line)), ExportTraceServiceRequest())
    for resource in request.resource_spans:
        service = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                ids = {"trace": span.trace_id.hex(), "span": span.span_id.hex(), "parent": span.parent_span_id.hex()}
                print(json.dumps({**ids, "name": span.name, "kind": span.kind, "service": service["service.name"]}))
