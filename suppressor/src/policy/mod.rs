//! The policy: which evidence suppresses, how far, until when. Data, with a version; `decide` is the code.

mod decide;
mod file;
mod trim;

pub use decide::{DECIDE_REVISION, PROVISIONAL_RULE, decide, decisive, policy_version, ruled};
pub use file::PolicyError;
pub use trim::trimmable;

use domain::{Channel, FailureClass, Kind, MessageClass, Reason, Scope};
use std::collections::BTreeMap;

/// Version of the policy that is compiled in and holds until another is applied.
pub const BUILT_IN_VERSION: u32 = 0;

/// A validated policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Raised with every application; [`BUILT_IN_VERSION`] is the default policy.
    pub version: u32,
    /// The text it was read from.
    pub document: String,
    /// In order: the first that matches decides.
    pub rules: Vec<Rule>,
    /// Length of soft suppressions.
    pub windows: Windows,
    /// Days without a human open or click after which the job calls a recipient unengaged.
    pub unengaged_after_days: u32,
    /// Which classes of message each of the fixed scopes stops.
    pub stops: BTreeMap<String, Vec<MessageClass>>,
    /// When the guard takes a jump of hard bounces for an incident, and what then holds.
    pub incidents: Incidents,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Shows up in explanations.
    pub id: String,
    /// `None` is any.
    pub channel: Option<Channel>,
    /// The kind of event.
    pub kind: Kind,
    /// Failure classes; empty is any.
    pub classes: Vec<FailureClass>,
    /// The reason given.
    pub reason: Reason,
    /// How far it reaches where the event does not say.
    pub scope: Scope,
    /// What ends it.
    pub ends: Ends,
}

/// What ends a suppression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Only a release by hand.
    Never,
    /// Its window, or a delivery.
    Window,
    /// A newer resubscribe in the same scope.
    Resubscribe,
    /// A newer human open or click.
    Engagement,
}

/// Length of soft suppressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Length of the first, in seconds.
    pub first_seconds: i64,
    /// Each is so many times as long as the one before.
    pub factor: i64,
    /// After so many windows without a delivery between, the next failure is for good.
    pub for_good_after: u32,
}

/// When the guard takes a jump of hard bounces for an incident, and what then holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incidents {
    /// Whether anything is counted at all. Verdicts that lie in the log hold either way.
    pub is_enabled: bool,
    /// So many hard bounces of recently engaged recipients of a group within an hour, at least.
    pub minimum: u32,
    /// So many times the group's usual rate, at least.
    pub factor: u32,
    /// This share of what is told of engaged recipients, at least.
    pub rate_percent: u32,
    /// Who opened or clicked within so many seconds counts as engaged.
    pub engaged_seconds: i64,
    /// How long a provisional bounce suppresses, in seconds.
    pub hold_seconds: i64,
}

impl Policy {
    /// The policy that is compiled in.
    #[expect(clippy::expect_used, reason = "compiled in; a test reads it")]
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN_VERSION, include_str!("default.toml")).expect("the built-in policy is valid")
    }

    /// The rule that decides about a kind of event.
    pub fn rule(&self, channel: Channel, kind: Kind, class: Option<FailureClass>) -> Option<&Rule> {
        self.rules.iter().find(|rule| {
            rule.kind == kind
                && rule.channel.is_none_or(|only| only == channel)
                && (rule.classes.is_empty() || class.is_some_and(|class| rule.classes.contains(&class)))
        })
    }

    /// Whether a suppression of this scope stops a message of this class and categories, sent from `sender` (where the
    /// caller says from whom; a recipient who told any sender to stop is else left alone).
    pub fn stops(&self, scope: &Scope, class: MessageClass, categories: &[String], sender: Option<&str>) -> bool {
        match scope {
            Scope::Category(name) => categories.iter().any(|category| category == name),
            Scope::Sender(name) => sender.is_none_or(|sender| sender == name),
            Scope::All | Scope::NonCritical | Scope::Marketing => {
                self.stops.get(&scope.to_string()).is_some_and(|classes| classes.contains(&class))
            }
        }
    }
}
