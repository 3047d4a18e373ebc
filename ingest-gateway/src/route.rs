//! Which source a path means.

use providers::one_click;

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

/// Whether a path is an unsubscribe link, or the stump of one.
pub(crate) fn is_unsubscribe(path: &str) -> bool {
    path.starts_with(one_click::PATH)
}

/// The provider and source that a path names; they need not exist. Never that of unsubscribe links, which is no webhook.
pub(crate) fn read(path: &str) -> Option<(&str, &str)> {
    if let Some(fixed) = FIXED_PATHS.iter().find(|fixed| fixed.path == path) {
        return Some((fixed.provider, DEFAULT_SOURCE));
    }
    let rest = path.strip_prefix("/webhooks/")?;
    let (provider, source) = rest.split_once('/').unwrap_or((rest, DEFAULT_SOURCE));
    let fine = !provider.is_empty() && provider != one_click::NAME && !source.is_empty() && !source.contains('/');
    fine.then_some((provider, source))
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
        check("/webhooks/one-click", None);
        check("/webhooks/one-click/default", None);
        assert!(is_unsubscribe("/unsubscribe/1.a.b") && !is_unsubscribe("/webhooks/unsubscribe/1.a.b"));
        for path in
            ["/", "/webhooks", "/webhooks/", "/webhooks//a", "/webhooks/a/", "/webhooks/a/b/c", "/v1/webhooks/a"]
        {
            check(path, None);
        }
    }

    #[test]
    fn the_description_has_every_path() {
        let described: serde_json::Value = serde_json::from_str(include_str!("../openapi.json")).unwrap();
        let paths: Vec<&str> = described["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let known = FIXED_PATHS.iter().map(|fixed| fixed.path);
        for path in known.chain(["/webhooks/{provider}", "/webhooks/{provider}/{source}", "/unsubscribe/{token}"]) {
            assert!(paths.contains(&path), "{path}");
        }
        assert_eq!(paths.len(), FIXED_PATHS.len() + 3);
    }

    #[test]
    fn fixed_words_are_reserved() {
        for word in ["events", "bounce", "status"] {
            assert!(is_reserved(word), "{word}");
        }
        assert!(!is_reserved("default"));
    }
}
