//! What a process of `quell` tells of itself on `/metrics`.

use crate::http;
use anyhow::Context as _;
use std::net::SocketAddr;

/// All its metrics at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scrape(String);

impl Scrape {
    /// Asks the admin port.
    pub(crate) fn of(admin: SocketAddr) -> anyhow::Result<Self> {
        let answer = http::get(admin, "/metrics")?;
        anyhow::ensure!(answer.status == 200, "/metrics was answered {}", answer.status);
        Ok(Self(String::from_utf8(answer.body).context("/metrics is not text")?))
    }

    /// The sum of a metric over its labels.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.sum_where(name, "")
    }

    /// The same over those series whose labels hold this text, such as `phase="commit"`.
    pub(crate) fn sum_where(&self, name: &str, label: &str) -> f64 {
        let value = |line: &str| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
            let (labels, value) = rest.rsplit_once(' ')?;
            if labels.contains(label) { value.parse::<f64>().ok() } else { None }
        };
        self.0.lines().filter_map(value).fold(0.0, |sum, value| sum + value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_their_labels() {
        let scrape = Scrape("# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"2\",y=\"2\"} 4\nab 9\nb 2\n".to_owned());
        assert_eq!((scrape.sum("a"), scrape.sum("b"), scrape.sum("c")), (7.0, 2.0, 0.0));
        assert_eq!((scrape.sum_where("a", "x=\"2\""), scrape.sum_where("a", "z=")), (4.0, 0.0));
    }
}
