//! A recipient's change of preferences on a contact list: every topic at once, or single topics.

use super::event::Fact;
use crate::json::{Object, Value};
use domain::{Kind, Scope};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Topics looked at; a contact list has at most 20.
const TOPICS_MAX: usize = 64;

/// What changed. A topic counts where its status is another than before; where everything was given up before and is no
/// longer, also where it still is opted out of.
pub(super) fn facts<'a>(subscription: &Object<'a>) -> Vec<Fact<'a>> {
    let (old, new) = (Preferences::read(subscription, "old"), Preferences::read(subscription, "new"));
    if new.all_given_up {
        return vec![fact(Kind::Unsubscribed, Scope::Marketing)];
    }
    let mut facts = Vec::new();
    if old.all_given_up {
        facts.push(fact(Kind::Resubscribed, Scope::Marketing));
    }
    for (topic, opted_out) in &new.topics {
        let is_told = old.topics.get(topic) == Some(opted_out) && !(old.all_given_up && *opted_out);
        if !is_told {
            let kind = if *opted_out { Kind::Unsubscribed } else { Kind::Resubscribed };
            facts.push(fact(kind, Scope::category(topic)));
        }
    }
    if facts.is_empty() {
        facts.push(Kind::Unknown.into());
    }
    facts
}

fn fact<'a>(kind: Kind, scope: Scope) -> Fact<'a> {
    Fact { identity: Cow::Owned(scope.to_string()), scope: Some(scope), ..kind.into() }
}

#[derive(Default)]
struct Preferences<'a> {
    all_given_up: bool,
    /// Whether each topic is opted out of.
    topics: BTreeMap<Cow<'a, str>, bool>,
}

impl<'a> Preferences<'a> {
    fn read(subscription: &Object<'a>, which: &str) -> Self {
        let Some(object) = subscription.object(&format!("{which}TopicPreferences")) else { return Self::default() };
        let topics = object.get("topicSubscriptionStatus").map(Value::list).unwrap_or_default();
        let topic = |value: Value<'a>| {
            let topic = value.object()?;
            let opted_out = match topic.text("subscriptionStatus")?.as_ref() {
                "OptOut" => true,
                "OptIn" => false,
                _ => return None,
            };
            Some((topic.text("topicName")?, opted_out))
        };
        Self {
            all_given_up: object.get("unsubscribeAll").is_some_and(Value::is_true),
            topics: topics.into_iter().take(TOPICS_MAX).filter_map(topic).collect(),
        }
    }
}
