//! Which source a path means.

/// A path that stands for one provider's source, beside `/webhooks/{provider}` and `/webhooks/{provider}/{source}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedPath {
    /// The path.
    pub path: &'static str,
    /// The provider it means; its source is the one named `default`.
    pub provider: &'static str,
    /// The word in it that no source may be called.
    pub reserved: &'static str,
}

/// Every fixed path.
pub const FIXED_PATHS: &[FixedPath] = &[
    FixedPath { path: "/webhooks/email/events", provider: "generic", reserved: "events" },
    FixedPath { path: "/webhooks/drip/bounce", provider: "drip", reserved: "bounce" },
    FixedPath { path: "/webhooks/twilio/status", provider: "twilio", reserved: "status" },
];

/// The source that is meant where the path names none.
pub(crate) const DEFAULT_SOURCE: &str = "default";

/// Whether no source of any provider may have this name, as fixed paths use it.
pub fn is_reserved(source: &str) -> bool {
    FIXED_PATHS.iter().any(|fixed| fixed.reserved == source)
}

/// The provider and source that a path names; they need not exist.
pub(crate) fn read(path: &str) -> Option<(&str, &str)> {
    if let Some(fixed) = FIXED_PATHS.iter().find(|fixed| fixed.path == path) {
        return Some((fixed.provider, DEFAULT_SOURCE));
    }
    let rest = path.strip_prefix("/webhooks/")?;
    let (provider, source) = rest.split_once('/').unwrap_or((rest, DEFAULT_SOURCE));
    (!provider.is_empty() && !source.is_empty() && !source.contains('/')).then_some((provider, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_paths() {
        let check = |path: &str, expected: Option<(&str, &str)>| assert_eq!(read(path), expected, "{path}");
        check("/webhooks/sendgrid", Some(("sendgrid", "default")));
        check("/webhooks/sendgrid/default", Some(("sendgrid", "default")));
        check("/webhooks/sendgrid/acme", Some(("sendgrid", "acme")));
        check("/webhooks/email/events", Some(("generic", "default")));
        check("/webhooks/drip/bounce", Some(("drip", "default")));
        check("/webhooks/twilio/status", Some(("twilio", "default")));
        check("/webhooks/twilio/bounce", Some(("twilio", "bounce")));
        for path in
            ["/", "/webhooks", "/webhooks/", "/webhooks//a", "/webhooks/a/", "/webhooks/a/b/c", "/v1/webhooks/a"]
        {
            check(path, None);
        }
    }

    #[test]
    fn fixed_words_are_reserved() {
        for word in ["events", "bounce", "status"] {
            assert!(is_reserved(word), "{word}");
        }
        assert!(!is_reserved("default"));
    }
}
