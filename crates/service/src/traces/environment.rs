//! The variables that every program with OpenTelemetry reads. Pure.
//!
//! Source: <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/> and
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>.

/// What the environment says of traces. Headers are secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `OTEL_SDK_DISABLED` or `OTEL_TRACES_EXPORTER=none`: no traces, whatever else is configured.
    pub is_off: bool,
    /// Where spans are posted, whole.
    pub url: Option<String>,
    /// A protocol that is asked for and not spoken here.
    pub foreign_protocol: Option<String>,
    /// Headers to send along.
    pub headers: Vec<(String, String)>,
    /// `OTEL_SERVICE_NAME`.
    pub service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES`.
    pub resource: Vec<(String, String)>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let header_names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Environment").field("url", &self.url).field("headers", &header_names).finish_non_exhaustive()
    }
}

impl Environment {
    /// Reads what a lookup of variables finds. An empty one counts as unset, and one for traces alone goes before the one
    /// for all signals.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let of_traces = |name: &str| {
            get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}")).or_else(|| get(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        let is = |name: &str, word: &str| get(name).is_some_and(|text| text.eq_ignore_ascii_case(word));
        let url = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| {
            get("OTEL_EXPORTER_OTLP_ENDPOINT").map(|base| format!("{}/v1/traces", base.trim_end_matches('/')))
        });
        let mut resource = pairs(&get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default());
        let named = resource.iter().position(|(name, _)| name == "service.name").map(|place| resource.remove(place).1);
        Self {
            is_off: is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none"),
            url,
            // Every receiver of OTLP over HTTP takes both of its encodings.
            foreign_protocol: of_traces("PROTOCOL").filter(|protocol| !protocol.starts_with("http/")),
            headers: pairs(&of_traces("HEADERS").unwrap_or_default()),
            service_name: get("OTEL_SERVICE_NAME").or(named),
            resource,
        }
    }
}

/// `name=value,name=value`, percent-encoded. What is no pair is left out.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (name.trim(), decoded(value.trim())?);
        (!name.is_empty()).then(|| (name.to_owned(), value))
    };
    text.split(',').filter_map(pair).collect()
}

fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        Environment::read(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn says_nothing_where_nothing_is_set() {
        assert_eq!(read(&[]), Environment::default());
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Environment::default());
    }

    #[test]
    fn the_common_variables_are_read() {
        let found = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc=, x-tenant = a ,nonsense,bad=%zz"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment=prod"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ]);
        assert_eq!(found.url.as_deref(), Some("http://collector:4318/v1/traces"));
        assert_eq!(found.headers, owned(&[("authorization", "Basic abc="), ("x-tenant", "a")]));
        assert_eq!(found.service_name.as_deref(), Some("other"));
        assert_eq!(found.resource, owned(&[("deployment.environment", "prod")]));
        assert_eq!((found.foreign_protocol.as_deref(), found.is_off), (None, false));
        assert!(!format!("{found:?}").contains("abc"));
    }

    #[test]
    fn what_is_for_traces_alone_goes_first() {
        let found = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces.example.com/in"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=b"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "c=d"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_SERVICE_NAME", "quell-gateway"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other"),
        ]);
        assert_eq!(found.url.as_deref(), Some("https://traces.example.com/in"));
        assert_eq!(found.headers, owned(&[("a", "b")]));
        assert_eq!(found.foreign_protocol.as_deref(), Some("grpc"));
        assert_eq!(found.service_name.as_deref(), Some("quell-gateway"));
    }

    #[test]
    fn traces_are_switched_off() {
        assert!(read(&[("OTEL_SDK_DISABLED", "TRUE")]).is_off);
        assert!(read(&[("OTEL_TRACES_EXPORTER", "none")]).is_off);
        assert!(!read(&[("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_SDK_DISABLED", "false")]).is_off);
    }
}
