//! Spans as OTLP writes them in JSON: ids in hexadecimal, enums as numbers, 64-bit integers as text.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.

use super::span::{Span, Value};
use serde_json::{Value as Json, json};

/// Who made the spans.
const SCOPE: &str = "quell";
/// `STATUS_CODE_ERROR`.
const STATUS_ERROR: u8 = 2;
/// `SPAN_FLAGS`: the trace flags, here always sampled.
const FLAGS: u32 = 1;

/// An `ExportTraceServiceRequest`: one resource, one scope, these spans.
pub(super) fn request(resource: &Json, spans: &[Span]) -> Vec<u8> {
    let spans: Vec<Json> = spans.iter().map(span).collect();
    let scope = json!({ "name": SCOPE, "version": env!("CARGO_PKG_VERSION") });
    let request = json!({
        "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "scope": scope, "spans": spans }] }],
    });
    request.to_string().into_bytes()
}

/// A resource of these attributes.
pub(super) fn resource<'a>(attributes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Json {
    let attributes: Vec<Json> = attributes.into_iter().map(|(name, value)| attribute(name, &value.into())).collect();
    json!({ "attributes": attributes })
}

/// How many spans the receiver says that it did not take.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    let answer: Json = serde_json::from_slice(answer).unwrap_or_default();
    let rejected = &answer["partialSuccess"]["rejectedSpans"];
    // An int64: text by the mapping, a number where somebody takes it less strictly.
    rejected.as_str().and_then(|text| text.parse().ok()).or_else(|| rejected.as_u64()).unwrap_or(0)
}

fn span(span: &Span) -> Json {
    let attributes: Vec<Json> = span.attributes.iter().map(|(name, value)| attribute(name, value)).collect();
    let mut json = json!({
        "traceId": span.context.trace.to_string(),
        "spanId": span.context.span.to_string(),
        "flags": FLAGS,
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": nanos(span.time.0),
        "endTimeUnixNano": nanos(span.time.1.max(span.time.0)),
        "attributes": attributes,
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = parent.to_string().into();
    }
    if !span.events.is_empty() {
        let event = |(name, at): &(&str, i64)| json!({ "name": name, "timeUnixNano": nanos(*at) });
        json["events"] = span.events.iter().map(event).collect();
    }
    if !span.links.is_empty() {
        let link = |link: &super::TraceContext| json!({ "traceId": link.trace.to_string(), "spanId": link.span.to_string(), "flags": FLAGS });
        json["links"] = span.links.iter().map(link).collect();
        json["droppedLinksCount"] = u32::try_from(span.links_left_out).unwrap_or(u32::MAX).into();
    }
    if let Some(error) = &span.error {
        json["status"] = json!({ "code": STATUS_ERROR, "message": error });
    }
    json
}

fn attribute(name: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Texts(texts) => {
            let values: Vec<Json> = texts.iter().map(|text| json!({ "stringValue": text })).collect();
            json!({ "arrayValue": { "values": values } })
        }
    };
    json!({ "key": name, "value": value })
}

fn nanos(micros: i64) -> String {
    (i128::from(micros.max(0)) * 1_000).to_string()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Kind, TraceContext},
        *,
    };

    #[test]
    fn a_span_is_written_as_the_mapping_says() {
        let context = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        let child = context.child(&[b"x"]);
        let mut made =
            Span::new(child, Some(context.span), Kind::Consumer, "process a".into(), (1_700_000_000_000_001, 5));
        made.note("quell.receipt_id", "r0.1.2.x");
        made.note("messaging.kafka.offset", 7_u64);
        made.note("quell.event_ids", vec!["a".to_owned(), "b".to_owned()]);
        made.events.push(("processed", 1_700_000_000_000_002));
        made.links.push(context);
        made.links_left_out = 3;
        made.error = Some("bad_element".to_owned());
        let request = request(&resource([("service.name", "quell")]), &[made]);
        let request: Json = serde_json::from_slice(&request).unwrap();
        let resource = &request["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "quell");
        let span = &resource["scopeSpans"][0]["spans"][0];
        assert_eq!(
            *span,
            json!({
                "traceId": "0af7651916cd43dd8448eb211c80319c",
                "spanId": child.span.to_string(),
                "parentSpanId": "b7ad6b7169203331",
                "flags": 1,
                "name": "process a",
                "kind": 5,
                "startTimeUnixNano": "1700000000000001000",
                // A clock that was set back makes no span that ends before it begins.
                "endTimeUnixNano": "1700000000000001000",
                "attributes": [
                    { "key": "quell.receipt_id", "value": { "stringValue": "r0.1.2.x" } },
                    { "key": "messaging.kafka.offset", "value": { "intValue": "7" } },
                    { "key": "quell.event_ids", "value": { "arrayValue": { "values": [
                        { "stringValue": "a" }, { "stringValue": "b" },
                    ] } } },
                ],
                "events": [{ "name": "processed", "timeUnixNano": "1700000000000002000" }],
                "links": [{
                    "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "flags": 1,
                }],
                "droppedLinksCount": 3,
                "status": { "code": 2, "message": "bad_element" },
            })
        );
    }

    #[test]
    fn what_was_not_taken_is_read_in_either_form() {
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"no"}}"#), 3);
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedSpans":4}}"#), 4);
        for none in [&b"{}"[..], b"", b"nonsense", br#"{"partialSuccess":{"rejectedSpans":"-1"}}"#] {
            assert_eq!(rejected(none), 0);
        }
    }
}
