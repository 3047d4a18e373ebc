//! Where traces go, and how many are made.

use anyhow::{Context as _, bail};
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use service::{
    Secret,
    traces::{Environment, TraceSettings},
};
use std::collections::BTreeMap;

/// `[traces]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TracesConfig {
    /// Where spans are posted by OTLP over HTTP; without a path, at `/v1/traces`. Without it no traces are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// The share of webhooks that is traced, 0 to 1.
    pub(crate) sample: f64,
    /// How many a second beyond that, of those whose caller asks with a sampled `traceparent`.
    pub(crate) callers_per_s: u32,
    /// Who we are among the services.
    pub(crate) service_name: String,
    /// Further attributes of the resource.
    pub(crate) resource: BTreeMap<String, String>,
    /// Headers to send along.
    pub(crate) headers: BTreeMap<String, Secret>,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            sample: 0.01,
            callers_per_s: 10,
            service_name: "quell".to_owned(),
            resource: BTreeMap::new(),
            headers: BTreeMap::new(),
        }
    }
}

impl TracesConfig {
    /// Takes what the common variables say where the file says nothing; they switch off whatever it says.
    pub(crate) fn adopt(&mut self, environment: Environment) -> anyhow::Result<()> {
        if environment.is_off {
            self.endpoint = None;
            return Ok(());
        }
        if self.endpoint.is_none() && environment.url.is_some() {
            if let Some(protocol) = environment.foreign_protocol {
                bail!(
                    "OTEL_EXPORTER_OTLP_PROTOCOL asks for {protocol:?}: spans are sent over HTTP; set http/json and the \
                     receiver's port for it (4318), or traces.endpoint"
                );
            }
            self.endpoint = environment.url;
            for (name, value) in environment.headers {
                self.headers.entry(name).or_insert_with(|| Secret::new(value));
            }
        }
        if let Some(name) = environment.service_name.filter(|_| self.service_name == Self::default().service_name) {
            self.service_name = name;
        }
        for (name, value) in environment.resource {
            self.resource.entry(name).or_insert(value);
        }
        Ok(())
    }

    /// What cannot work.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if !(0.0..=1.0).contains(&self.sample) {
            bail!("traces.sample must be 0 to 1: the share of webhooks that is traced");
        }
        if self.callers_per_s > 10_000 {
            bail!("traces.callers_per_s must be at most 10000");
        }
        self.settings("").map(drop)
    }

    /// What makes the traces; none without an endpoint.
    pub(crate) fn settings(&self, instance: &str) -> anyhow::Result<Option<TraceSettings>> {
        let Some(endpoint) = &self.endpoint else { return Ok(None) };
        let headers = self.headers.iter().map(|(name, value)| {
            let name: HeaderName =
                name.parse().with_context(|| format!("traces.headers: {name:?} is no header's name"))?;
            let value = HeaderValue::try_from(value.expose())
                .map_err(|_| anyhow::anyhow!("traces.headers.{name}: its value cannot be sent"))?;
            Ok((name, value))
        });
        let ours = [
            ("service.name", self.service_name.as_str()),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", instance),
        ];
        let ours = ours.into_iter().filter(|(name, value)| !value.is_empty() && !self.resource.contains_key(*name));
        let ours = ours.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Some(TraceSettings {
            url: url(endpoint)?,
            sample: self.sample,
            callers_per_s: self.callers_per_s,
            headers: headers.collect::<anyhow::Result<_>>()?,
            resource: ours.chain(self.resource.clone()).collect(),
        }))
    }
}

/// The endpoint with a path.
fn url(endpoint: &str) -> anyhow::Result<String> {
    let url: http::Uri = endpoint.parse().map_err(|_| anyhow::anyhow!("traces.endpoint: {endpoint:?} is no URL"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
        bail!("traces.endpoint: write a URL such as http://127.0.0.1:4318, not {endpoint:?}");
    }
    let is_bare = url.path() == "/" && url.query().is_none();
    Ok(if is_bare { format!("{}/v1/traces", endpoint.trim_end_matches('/')) } else { endpoint.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::read(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn adopted(config: TracesConfig, variables: &[(&str, &str)]) -> Result<TracesConfig, String> {
        let mut config = config;
        config.adopt(environment(variables)).map_err(|error| error.to_string())?;
        Ok(config)
    }

    fn at(endpoint: &str) -> TracesConfig {
        TracesConfig { endpoint: Some(endpoint.to_owned()), ..TracesConfig::default() }
    }

    #[test]
    fn no_traces_without_an_endpoint() {
        let config = adopted(TracesConfig::default(), &[("OTEL_SERVICE_NAME", "x")]).unwrap();
        assert!(config.settings("one").unwrap().is_none());
    }

    #[test]
    fn the_file_goes_before_the_common_variables() {
        let common = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=s3cret"),
            ("OTEL_SERVICE_NAME", "from-outside"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=b,service.version=9"),
        ];
        let settings = adopted(TracesConfig::default(), &common).unwrap().settings("one").unwrap().unwrap();
        assert_eq!(settings.url, "http://collector:4318/v1/traces");
        assert_eq!(settings.headers[0].1, "s3cret");
        let resource: BTreeMap<_, _> = settings.resource.iter().map(|(name, value)| (&**name, &**value)).collect();
        let expected =
            [("service.name", "from-outside"), ("service.version", "9"), ("service.instance.id", "one"), ("a", "b")];
        assert_eq!(resource, expected.into_iter().collect());

        let file = TracesConfig { service_name: "ours".to_owned(), ..at("https://in.example.com/otlp") };
        let settings = adopted(file, &common).unwrap().settings("").unwrap().unwrap();
        assert_eq!((settings.url.as_str(), settings.headers.len()), ("https://in.example.com/otlp", 0));
        assert!(settings.resource.contains(&("service.name".to_owned(), "ours".to_owned())));
        assert!(settings.resource.iter().all(|(name, _)| name != "service.instance.id"));
    }

    #[test]
    fn the_common_variables_switch_off() {
        let off = adopted(at("http://collector:4318"), &[("OTEL_TRACES_EXPORTER", "none")]).unwrap();
        assert!(off.settings("").unwrap().is_none());
        let grpc = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        let error = adopted(TracesConfig::default(), &grpc).unwrap_err();
        assert!(error.contains("4318"), "{error}");
        assert!(adopted(at("http://c:4318"), &grpc).is_ok());
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for wrong in ["collector:4318", "grpc://collector:4317", "/v1/traces", "http://"] {
            let error = at(wrong).check().unwrap_err().to_string();
            assert!(error.contains("traces.endpoint"), "{error}");
        }
        for wrong in [-0.1, 1.1, f64::NAN] {
            assert!(TracesConfig { sample: wrong, ..TracesConfig::default() }.check().is_err());
        }
        let headers = BTreeMap::from([("bad name".to_owned(), Secret::new("x"))]);
        assert!(TracesConfig { headers, ..at("http://c:4318") }.check().is_err());
        let headers = BTreeMap::from([("x".to_owned(), Secret::new("s3cret\n"))]);
        let error = TracesConfig { headers, ..at("http://c:4318") }.check().unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
        assert!(at("http://c:4318").check().is_ok());
    }
}
