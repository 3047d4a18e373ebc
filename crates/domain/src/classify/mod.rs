//! Bounce classification: whose failure it was, what kind of failure, and by which rule that is known.
//!
//! Only a recipient's own failure may ever suppress, so every doubt is settled against the recipient being at fault.
//! Evidence is weighed in this order; the first that speaks decides:
//!
//! 1. the operator's own rules ([`user`]), applied to the finished event;
//! 2. the provider's firm word (it names the cause: a template that failed, a block it diagnosed), unless it blames the
//!    recipient and the reply's words prove a refusal of the message or its sender;
//! 3. phrases that prove a sender's, message's, domain's or relay's failure, whatever code stands beside them;
//! 4. enhanced status codes (RFC 3463 and the IANA registry of them) that name one cause, unless they blame the recipient and
//!    the reply's words say something milder or more exact;
//! 5. phrases about the recipient's mailbox, or a busy host;
//! 6. the subject class of an enhanced code (`x.7.x` is policy, whatever the detail);
//! 7. the provider's weak word (it sorts into a drawer that holds several causes);
//! 8. basic reply codes (RFC 5321 4.2) that name one cause;
//! 9. the provider's word on hardness alone: an unexplained final failure is an unknown recipient, an unexplained passing
//!    one a recipient out of reach for now, and one of which nobody says either is undetermined.

mod codes;
mod finder;
mod reply;
mod text;
pub mod user;

use crate::{Attribution, Failure, FailureClass, Kind};

pub use reply::Enhanced;
pub use user::{UserRule, UserRuleError, UserRules};

/// Longest diagnostic kept, in bytes.
pub const DIAGNOSTIC_BYTES_MAX: usize = 1_024;

/// What a provider itself says about the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It names the cause; only words that prove a refusal of the message or its sender acquit a
    /// recipient that it blames.
    Firm(Attribution, FailureClass, &'static str),
    /// It sorts the failure into a drawer; codes and phrases say more.
    Weak(Attribution, FailureClass, &'static str),
}

/// All that is known about one failure. Absent evidence is `None`; nothing is invented.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// What the provider says about the cause, with the id of the rule it stands for.
    pub word: Option<Word>,
    /// Whether the provider calls it final.
    pub permanent: Option<bool>,
    /// Basic SMTP reply code, if the provider gives it apart.
    pub smtp_code: Option<u16>,
    /// Enhanced status, if the provider gives it apart.
    pub enhanced_status: Option<&'a str>,
    /// The reply as worded. Codes are read from it where they are not given apart.
    pub diagnostic: Option<&'a str>,
}

/// The outcome of [`classify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whose failure.
    pub attribution: Attribution,
    /// What kind.
    pub class: FailureClass,
    /// Whether it is for good, as far as can be told.
    pub permanent: Option<bool>,
    /// The basic reply code, 400 to 599.
    pub smtp_code: Option<u16>,
    /// The enhanced status.
    pub enhanced_status: Option<Enhanced>,
    /// The rule that decided, e.g. `enhanced.5.1.1`, `text.mailbox_full`, `provider.hard`.
    pub rule: String,
}

impl Verdict {
    /// The kind of bounce: hard only if the failure is for good *and* lies in the recipient or a domain that takes no
    /// mail. A provider's "hard" whose reply proves a block, a size limit, a full mailbox or a time-out is soft, and so is
    /// what nobody explains.
    pub fn bounce(&self) -> Kind {
        bounce(self.attribution, self.class, self.permanent == Some(true))
    }

    /// As a canonical failure, with the diagnostic cut to [`DIAGNOSTIC_BYTES_MAX`].
    pub fn into_failure(self, diagnostic: Option<&str>) -> Failure {
        Failure {
            attribution: self.attribution,
            class: self.class,
            smtp_code: self.smtp_code,
            enhanced_status: self.enhanced_status.map(|status| status.to_string()),
            provider_code: None,
            attempt: None,
            diagnostic: diagnostic
                .filter(|text| !text.is_empty())
                .map(|text| cut(text, DIAGNOSTIC_BYTES_MAX).to_owned()),
            rule: self.rule,
        }
    }
}

/// Hard or soft, of a failure whose cause is known.
const fn bounce(attribution: Attribution, class: FailureClass, permanent: bool) -> Kind {
    let lasting = match (attribution, class) {
        (Attribution::Recipient, FailureClass::Undetermined) => false,
        (Attribution::Recipient, _) | (Attribution::Domain, FailureClass::BadDomain) => true,
        _ => false,
    };
    if lasting && permanent { Kind::BouncedHard } else { Kind::BouncedSoft }
}

/// Classifies one failure. Pure; the same evidence always gives the same verdict.
pub fn classify(evidence: &Evidence<'_>) -> Verdict {
    let reply = cut(evidence.diagnostic.unwrap_or_default(), DIAGNOSTIC_BYTES_MAX);
    let worded = Enhanced::find(reply);
    let given = evidence.enhanced_status.and_then(Enhanced::read);
    // A provider's x.0.0 only repeats the class of the reply; the reply itself may say more.
    let enhanced = match (given, worded) {
        (Some(given), Some(worded)) if given.is_generic() && !worded.is_generic() => Some(worded),
        (given, worded) => given.or(worded),
    };
    let smtp_code = evidence.smtp_code.filter(|code| (400..600).contains(code)).or_else(|| reply::basic_code(reply));
    let (attribution, mut class, rule) = cause(evidence, enhanced, smtp_code, reply);
    let final_code = enhanced.map(|status| status.class == 5).or_else(|| smtp_code.map(|code| code >= 500));
    // A domain that cannot be found for now is a look-up that failed.
    if class == FailureClass::BadDomain && final_code == Some(false) {
        class = FailureClass::Dns;
    }
    let passes = attribution == Attribution::Recipient && text::says_it_passes(reply);
    Verdict {
        attribution,
        class,
        permanent: lasts(evidence, final_code, class, passes),
        smtp_code,
        enhanced_status: enhanced,
        rule,
    }
}

fn cause(
    evidence: &Evidence<'_>,
    enhanced: Option<Enhanced>,
    smtp_code: Option<u16>,
    reply: &str,
) -> (Attribution, FailureClass, String) {
    let phrase = text::first_match(reply);
    if let Some(Word::Firm(attribution, class, rule)) = evidence.word {
        let acquitted = attribution == Attribution::Recipient && phrase.is_some_and(|found| found.acquits());
        if !acquitted {
            return (attribution, class, rule.to_owned());
        }
    }
    let exact = enhanced.and_then(|status| codes::exact(status).map(|cause| (status, cause)));
    let worded = |found: &text::Phrase| (found.attribution, found.class, format!("text.{}", found.id));
    match (exact, phrase) {
        // Where both say the same, the code is the shorter reason.
        (Some((status, cause)), Some(found)) if cause == (found.attribution, found.class) => {
            return (cause.0, cause.1, format!("enhanced.{status}"));
        }
        (_, Some(found)) if found.weight == text::Weight::AboveCodes => return worded(found),
        // Words say more than a code that blames the recipient: `5.1.1 mailbox full`.
        (Some((_, (Attribution::Recipient, _))) | None, Some(found)) => return worded(found),
        (Some((status, (attribution, class))), _) => return (attribution, class, format!("enhanced.{status}")),
        (None, None) => {}
    }
    if let Some((status, (attribution, class))) =
        enhanced.and_then(|status| codes::subject(status).map(|c| (status, c)))
    {
        return (attribution, class, format!("enhanced.{}.{}", status.class, status.subject));
    }
    if let Some(Word::Weak(attribution, class, rule)) = evidence.word {
        return (attribution, class, rule.to_owned());
    }
    if let Some((code, (attribution, class))) = smtp_code.and_then(|code| codes::basic(code).map(|c| (code, c))) {
        return (attribution, class, format!("basic.{code}"));
    }
    match evidence.permanent {
        Some(true) => (Attribution::Recipient, FailureClass::UnknownRecipient, "provider.hard".to_owned()),
        Some(false) => (Attribution::Recipient, FailureClass::Unreachable, "provider.soft".to_owned()),
        None => (Attribution::Recipient, FailureClass::Undetermined, "undetermined".to_owned()),
    }
}

/// Whether the failure is for good. A provider's "soft" is never made harder; a reply of the 4xx class, one that says of
/// itself that it will pass, a full mailbox and every failure of the way there make a "hard" softer.
fn lasts(evidence: &Evidence<'_>, final_code: Option<bool>, class: FailureClass, passes: bool) -> Option<bool> {
    if evidence.permanent == Some(false) || passes {
        return Some(false);
    }
    let passing = [FailureClass::MailboxFull, FailureClass::Timeout, FailureClass::Dns, FailureClass::Rate];
    if passing.contains(&class) {
        return Some(false);
    }
    match (final_code, evidence.permanent) {
        (Some(false), _) => Some(false),
        (by_code, word) => word.or(by_code),
    }
}

/// The longest prefix of at most `bytes_max` bytes that ends at a character.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;
