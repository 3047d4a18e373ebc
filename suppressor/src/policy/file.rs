//! Reading a policy file, and saying what is wrong with it.

use super::{Ends, Incidents, PROVISIONAL_RULE, Policy, Rule, Windows};
use domain::{Channel, FailureClass, Kind, MessageClass, Reason, Scope};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// A policy that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy: {0}")]
pub struct PolicyError(pub String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    stops: BTreeMap<String, Vec<MessageClass>>,
    windows: WindowsFile,
    unengaged: UnengagedFile,
    #[serde(default)]
    incidents: IncidentsFile,
    rule: Vec<RuleFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowsFile {
    first_days: u32,
    factor: u32,
    for_good_after: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnengagedFile {
    after_days: u32,
}

/// A file that says nothing of incidents was written before there were any: what it leaves out is as in the default file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct IncidentsFile {
    enabled: bool,
    minimum: u32,
    factor: u32,
    rate_percent: u32,
    engaged_days: u32,
    hold_days: u32,
}

impl Default for IncidentsFile {
    fn default() -> Self {
        Self { enabled: true, minimum: 25, factor: 10, rate_percent: 3, engaged_days: 90, hold_days: 7 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    id: String,
    channel: Option<Channel>,
    kind: Kind,
    #[serde(default)]
    classes: Vec<FailureClass>,
    reason: Reason,
    scope: Scope,
    ends: EndsFile,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum EndsFile {
    Never,
    Window,
    Resubscribe,
    Engagement,
}

const SCOPES: [&str; 3] = ["all", "non_critical", "marketing"];
const DOCUMENT_BYTES_MAX: usize = 256 * 1_024;

impl Policy {
    /// Reads and checks a policy.
    pub fn parse(version: u32, document: &str) -> Result<Self, PolicyError> {
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(PolicyError(format!("longer than {DOCUMENT_BYTES_MAX} bytes")));
        }
        let file: File = toml::from_str(document).map_err(|error| PolicyError(error.to_string()))?;
        check_stops(&file.stops)?;
        let WindowsFile { first_days, factor, for_good_after } = file.windows;
        if !(1..=365).contains(&first_days) || !(1..=10).contains(&factor) || !(1..=12).contains(&for_good_after) {
            return Err(PolicyError(
                "windows: first_days is 1 to 365, factor 1 to 10, for_good_after 1 to 12".to_owned(),
            ));
        }
        if !(1..=3_650).contains(&file.unengaged.after_days) {
            return Err(PolicyError("unengaged: after_days is 1 to 3650".to_owned()));
        }
        let incidents = check_incidents(&file.incidents)?;
        let mut ids = BTreeSet::new();
        let mut rules = Vec::with_capacity(file.rule.len());
        for rule in file.rule {
            if !ids.insert(rule.id.clone()) {
                return Err(PolicyError(format!("rule {}: two rules have this id", rule.id)));
            }
            rules.push(check_rule(rule)?);
        }
        Ok(Self {
            version,
            document: document.to_owned(),
            rules,
            windows: Windows {
                first_seconds: i64::from(first_days) * 86_400,
                factor: i64::from(factor),
                for_good_after,
            },
            unengaged_after_days: file.unengaged.after_days,
            stops: file.stops,
            incidents,
        })
    }
}

fn check_incidents(file: &IncidentsFile) -> Result<Incidents, PolicyError> {
    let bounds = [
        ("minimum", file.minimum, 2, 1_000_000),
        ("factor", file.factor, 2, 1_000),
        ("rate_percent", file.rate_percent, 1, 100),
        ("engaged_days", file.engaged_days, 1, 3_650),
        ("hold_days", file.hold_days, 1, 90),
    ];
    if let Some((name, _, least, most)) = bounds.iter().find(|(_, is, least, most)| !(*least..=*most).contains(is)) {
        return Err(PolicyError(format!("incidents: {name} is {least} to {most}")));
    }
    Ok(Incidents {
        is_enabled: file.enabled,
        minimum: file.minimum,
        factor: file.factor,
        rate_percent: file.rate_percent,
        engaged_seconds: i64::from(file.engaged_days) * 86_400,
        hold_seconds: i64::from(file.hold_days) * 86_400,
    })
}

fn check_stops(stops: &BTreeMap<String, Vec<MessageClass>>) -> Result<(), PolicyError> {
    for scope in stops.keys() {
        if !SCOPES.contains(&scope.as_str()) {
            return Err(PolicyError(format!("stops: {scope:?} is none of {}", SCOPES.join(", "))));
        }
    }
    for scope in SCOPES {
        if stops.get(scope).is_none_or(Vec::is_empty) {
            return Err(PolicyError(format!("stops: say which classes of message {scope:?} stops")));
        }
    }
    Ok(())
}

fn check_rule(rule: RuleFile) -> Result<Rule, PolicyError> {
    let fail = |what: &str| Err(PolicyError(format!("rule {}: {what}", rule.id)));
    let ends = match rule.ends {
        EndsFile::Never => Ends::Never,
        EndsFile::Window => Ends::Window,
        EndsFile::Resubscribe => Ends::Resubscribe,
        EndsFile::Engagement => Ends::Engagement,
    };
    if rule.id.is_empty() || rule.id.len() > 64 {
        return fail("an id has 1 to 64 characters");
    }
    if rule.id == PROVISIONAL_RULE {
        return fail("this id is that of bounces in an incident");
    }
    let suppressing = matches!(
        rule.kind,
        Kind::BouncedHard
            | Kind::BouncedSoft
            | Kind::Complaint
            | Kind::Unsubscribed
            | Kind::Unengaged
            | Kind::SuppressedManually
    );
    if !suppressing {
        return fail("an event of this kind never suppresses");
    }
    if !rule.classes.is_empty() && !matches!(rule.kind, Kind::BouncedHard | Kind::BouncedSoft) {
        return fail("only bounces have failure classes");
    }
    match (ends, rule.kind) {
        (Ends::Window, Kind::BouncedHard | Kind::BouncedSoft)
        | (Ends::Resubscribe, Kind::Unsubscribed)
        | (Ends::Engagement, Kind::Unengaged)
        | (Ends::Never, _) => {}
        _ => {
            return fail(
                "this kind cannot end so: bounces by never or window, unsubscribed by never or resubscribe, unengaged by never or engagement, the rest by never",
            );
        }
    }
    Ok(Rule {
        id: rule.id,
        channel: rule.channel,
        kind: rule.kind,
        classes: rule.classes,
        reason: rule.reason,
        scope: rule.scope,
        ends,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(from: &str, to: &str, expected: &str) {
        let document = include_str!("default.toml").replacen(from, to, 1);
        let error = Policy::parse(1, &document).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn says_what_is_wrong() {
        Policy::built_in();
        refused("first_days = 7", "first_days = 0", "first_days is 1 to 365");
        refused("first_days", "frist_days", "unknown field");
        refused("id = \"sms.carrier\"", "id = \"sms.invalid_number\"", "two rules have this id");
        refused("kind = \"complaint\"", "kind = \"delivered\"", "never suppresses");
        refused("ends = \"engagement\"", "ends = \"window\"", "cannot end so");
        refused("minimum = 25", "minimum = 1", "minimum is 2 to 1000000");
        refused("hold_days = 7", "holds = 7", "unknown field");
        refused("id = \"bounce.hard\"", "id = \"bounce.provisional\"", "bounces in an incident");
        refused("marketing = [\"marketing\"]", "", "say which classes");
        refused("marketing = [\"marketing\"]", "news = [\"marketing\"]", "is none of");
    }

    #[test]
    fn a_file_from_before_incidents_means_the_default() {
        let whole = include_str!("default.toml");
        let (before, rest) = whole.split_once("[incidents]").unwrap();
        let (_, after) = rest.split_once("[[rule]]").unwrap();
        let older = Policy::parse(0, &format!("{before}[[rule]]{after}")).unwrap();
        assert_eq!(older.incidents, Policy::built_in().incidents);
    }

    #[test]
    fn scopes_stop_classes() {
        let policy = Policy::built_in();
        let stops = |scope: Scope, class| policy.stops(&scope, class, &[], None);
        assert!(stops(Scope::All, MessageClass::Critical));
        assert!(!stops(Scope::NonCritical, MessageClass::Critical));
        assert!(stops(Scope::NonCritical, MessageClass::Transactional));
        assert!(!stops(Scope::Marketing, MessageClass::Transactional));
        assert!(stops(Scope::Marketing, MessageClass::Marketing));
        assert!(!stops(Scope::category("news"), MessageClass::Marketing));
        assert!(policy.stops(&Scope::category("news"), MessageClass::Marketing, &["news".to_owned()], None));
        assert!(stops(Scope::sender("+1555"), MessageClass::Critical));
        assert!(!policy.stops(&Scope::sender("+1555"), MessageClass::Critical, &[], Some("+1666")));
    }
}
