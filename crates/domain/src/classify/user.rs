//! The operator's own rules: what they know of the hosts they send to and nobody else does.
//!
//! They come before everything else, in the order they are written; the first whose conditions all hold decides, and its id is
//! kept as `user.ID`. They are applied to the finished event, so that they hold for every provider alike, and replace whose
//! failure it was and of what kind. A bounce stays as hard or soft as it was found unless the rule says which it is; what is not
//! a bounce (a deferral, a refusal by the provider) keeps its kind.

use super::{Enhanced, bounce};
use crate::{Attribution, CanonicalEvent, Channel, FailureClass, Kind};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// Rules in one configuration.
const RULES_MAX: usize = 500;
const ID_BYTES_MAX: usize = 48;
const PATTERN_BYTES_MAX: usize = 1_024;
/// Bytes of one compiled pattern.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// One rule as it is written. Conditions that are absent hold; at least one of `text`, `smtp_code`, `enhanced_status` and
/// `provider_code` must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRule {
    /// Kept with every event it decides, as `user.ID`.
    pub id: String,
    /// Only this provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Only the source of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Only recipients at this domain or below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// A regular expression that the reply must hold somewhere; case does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The basic reply code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smtp_code: Option<u16>,
    /// The enhanced status, `5.7.1`, or its beginning, `5.7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enhanced_status: Option<String>,
    /// The provider's own code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_code: Option<String>,
    /// Whose failure it is.
    pub attribution: Attribution,
    /// What kind of failure it is.
    pub class: FailureClass,
    /// Whether a bounce is for good; without, it stays what it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permanent: Option<bool>,
}

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("classify rule {id:?}: {what}")]
pub struct UserRuleError {
    /// Which rule.
    pub id: String,
    /// What is wrong, and what to do.
    pub what: String,
}

/// Checked rules, in order.
#[derive(Debug, Clone, Default)]
pub struct UserRules {
    rules: Vec<Checked>,
}

#[derive(Debug, Clone)]
struct Checked {
    rule: UserRule,
    /// `user.ID`
    name: String,
    text: Option<Regex>,
    /// `.example.com`
    below: Option<String>,
    /// `5.7.`
    status: Option<String>,
}

impl UserRules {
    /// Checks rules and makes them ready.
    pub fn new(rules: &[UserRule]) -> Result<Self, UserRuleError> {
        let mut checked: Vec<Checked> = Vec::with_capacity(rules.len());
        for rule in rules {
            let fail = |what: String| UserRuleError { id: super::cut(&rule.id, ID_BYTES_MAX).to_owned(), what };
            if checked.len() == RULES_MAX {
                return Err(fail(format!("more than {RULES_MAX} rules: join what alternatives in `text` can join")));
            }
            if checked.iter().any(|other| other.rule.id == rule.id) {
                return Err(fail("two rules have this id: every rule needs its own".to_owned()));
            }
            checked.push(check(rule).map_err(fail)?);
        }
        Ok(Self { rules: checked })
    }

    /// Lets the first rule that fits decide about an event's failure. Returns whether one did.
    pub fn apply(&self, event: &mut CanonicalEvent) -> bool {
        if event.failure.is_none() {
            return false;
        }
        let Some(found) = self.rules.iter().find(|checked| checked.fits(event)) else { return false };
        let rule = &found.rule;
        let Some(failure) = event.failure.as_mut() else { return false };
        failure.attribution = rule.attribution;
        failure.class = rule.class;
        failure.rule.clone_from(&found.name);
        if matches!(event.kind, Kind::BouncedHard | Kind::BouncedSoft) {
            let permanent = rule.permanent.unwrap_or(event.kind == Kind::BouncedHard);
            event.kind = bounce(rule.attribution, rule.class, permanent);
        }
        true
    }
}

impl Checked {
    fn fits(&self, event: &CanonicalEvent) -> bool {
        let Some(failure) = &event.failure else { return false };
        let rule = &self.rule;
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found.is_some_and(|found| found == wanted))
        };
        is(&rule.provider, Some(&event.provider))
            && is(&rule.source, Some(&event.source))
            && is(&rule.provider_code, failure.provider_code.as_deref())
            && rule.smtp_code.is_none_or(|code| failure.smtp_code == Some(code))
            && self.status.as_deref().is_none_or(|wanted| {
                failure.enhanced_status.as_deref().is_some_and(|status| format!("{status}.").starts_with(wanted))
            })
            && self.below.as_deref().is_none_or(|below| at_or_below(event, below))
            && self
                .text
                .as_ref()
                .is_none_or(|text| failure.diagnostic.as_deref().is_some_and(|said| text.is_match(said)))
    }
}

/// Whether the recipient's domain is the one written behind the dot, or lies below it.
fn at_or_below(event: &CanonicalEvent, below: &str) -> bool {
    if event.channel != Channel::Email {
        return false;
    }
    let domain = event.recipient.as_str().rsplit_once('@').map_or("", |(_, domain)| domain);
    below.strip_prefix('.').is_some_and(|exact| exact == domain) || domain.ends_with(below)
}

fn check(rule: &UserRule) -> Result<Checked, String> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    if rule.id.is_empty() || rule.id.len() > ID_BYTES_MAX || !rule.id.chars().all(fine) {
        return Err(format!("an id is 1 to {ID_BYTES_MAX} lower-case letters, digits, dots, hyphens and underscores"));
    }
    let conditions = [rule.text.is_some(), rule.smtp_code.is_some()];
    let codes = [rule.enhanced_status.is_some(), rule.provider_code.is_some()];
    if !conditions.iter().chain(&codes).any(|given| *given) {
        return Err("it fits every failure: give `text`, `smtp_code`, `enhanced_status` or `provider_code`".to_owned());
    }
    if rule.smtp_code.is_some_and(|code| !(400..600).contains(&code)) {
        return Err("`smtp_code` is 400 to 599".to_owned());
    }
    check_result(rule)?;
    Ok(Checked {
        name: format!("user.{}", rule.id),
        text: rule.text.as_deref().map(pattern).transpose()?,
        below: rule.domain.as_deref().map(domain).transpose()?,
        status: rule.enhanced_status.as_deref().map(status).transpose()?,
        rule: rule.clone(),
    })
}

/// A recipient's own failure may suppress, so what cannot be the recipient's own must not be called so, and the other way
/// round.
fn check_result(rule: &UserRule) -> Result<(), String> {
    use FailureClass as F;
    let own = matches!(
        rule.class,
        F::UnknownRecipient | F::Disabled | F::MailboxFull | F::InvalidNumber | F::Unreachable | F::Landline
    );
    let either = matches!(rule.class, F::Undetermined | F::Carrier);
    match (rule.attribution == Attribution::Recipient, own) {
        (true, false) if !either => Err(format!(
            "class `{}` is never the recipient's own failure: attribute it to domain, message, sender or provider, or use another class",
            rule.class
        )),
        (false, true) => {
            Err(format!("class `{}` is the recipient's own failure: set `attribution = \"recipient\"`", rule.class))
        }
        _ if rule.permanent == Some(true) && rule.class == F::Undetermined => {
            Err("an undetermined failure is never for good: leave `permanent` out, or say which class it is".to_owned())
        }
        _ => Ok(()),
    }
}

fn pattern(text: &str) -> Result<Regex, String> {
    if text.trim().is_empty() || text.len() > PATTERN_BYTES_MAX {
        return Err(format!("`text` has 1 to {PATTERN_BYTES_MAX} bytes"));
    }
    let read = RegexBuilder::new(text).case_insensitive(true).size_limit(COMPILED_BYTES_MAX).build();
    let read = read.map_err(|error| format!("`text` is no regular expression: {error}"))?;
    if read.is_match("") {
        return Err("`text` fits every reply: make it match at least one character".to_owned());
    }
    Ok(read)
}

fn domain(name: &str) -> Result<String, String> {
    let name = name.trim().trim_matches('.');
    match idna::domain_to_ascii(name) {
        Ok(ascii) if !ascii.is_empty() && !ascii.contains(['@', '*', ' ']) => Ok(format!(".{ascii}")),
        _ => Err("`domain` is a name such as example.com; it stands for itself and what is below".to_owned()),
    }
}

fn status(text: &str) -> Result<String, String> {
    let whole = Enhanced::read(text).is_some() || Enhanced::read(&format!("{text}.0")).is_some();
    match whole {
        true => Ok(format!("{}.", text.trim())),
        false => Err("`enhanced_status` is C.S.D or C.S with class 4 or 5, e.g. \"5.7.1\" or \"5.7\"".to_owned()),
    }
}

#[cfg(test)]
mod tests;
