//! Canonical events and deltas for tests, with everything filled in that a test does not care about.

use domain::{
    Attribution, CanonicalEvent, Change, Delta, EventId, Failure, FailureClass, Kind, Reason, Recipient, RecipientKey,
    Scope, Standing, Tenant, Timestamp, Trigger, event::RULES_REVISION,
};
use std::collections::BTreeMap;

/// 2026-01-20T00:00:00Z, from which times in builders count.
pub const BASE_SECONDS: i64 = 1_768_867_200;

/// So many seconds after [`BASE_SECONDS`].
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::EPOCH.plus_seconds(BASE_SECONDS + seconds)
}

/// A recipient of the default tenant: with an `@` by email, else by sms. An address that cannot be read is a mistake in the
/// test.
#[expect(clippy::panic, reason = "a builder for tests: a wrong literal must fail loudly, and at the test's line")]
#[track_caller]
pub fn recipient_key(address: &str) -> RecipientKey {
    match Recipient::guess(address) {
        Ok(recipient) => RecipientKey { tenant: Tenant::default(), recipient },
        Err(error) => panic!("{address:?}: {error}"),
    }
}

/// An event of SendGrid about a recipient, `seconds` after [`BASE_SECONDS`], received a second later. Change its fields as
/// the test needs; then call [`identified`].
pub fn event(kind: Kind, address: &str, seconds: i64) -> CanonicalEvent {
    let key = recipient_key(address);
    identified(CanonicalEvent {
        event_id: EventId::from_bytes([0; 16]),
        tenant: key.tenant,
        channel: key.recipient.channel(),
        recipient: key.recipient,
        address: address.to_owned(),
        kind,
        provider_kind: kind.as_str().to_owned(),
        occurred_at: at(seconds),
        received_at: at(seconds + 1),
        rules: RULES_REVISION,
        provider: "sendgrid".to_owned(),
        source: "default".to_owned(),
        message_id: Some("m-1".to_owned()),
        campaign: None,
        categories: Vec::new(),
        failure: failure(kind),
        scope: matches!(kind, Kind::Unsubscribed | Kind::Resubscribed).then_some(Scope::Marketing),
        machine: false,
        echo: false,
        metadata: BTreeMap::new(),
        receipt_id: format!("receipt-{seconds}"),
    })
}

fn failure(kind: Kind) -> Option<Failure> {
    let (class, smtp_code, status, rule) = match kind {
        Kind::BouncedHard => (FailureClass::UnknownRecipient, 550, "5.1.1", "enhanced.5.1.1"),
        Kind::BouncedSoft | Kind::Deferred => (FailureClass::MailboxFull, 452, "4.2.2", "enhanced.4.2.2"),
        _ => return None,
    };
    Some(Failure {
        attribution: Attribution::Recipient,
        class,
        smtp_code: Some(smtp_code),
        enhanced_status: Some(status.to_owned()),
        provider_code: None,
        attempt: None,
        diagnostic: None,
        rule: rule.to_owned(),
    })
}

/// The same event with the id that its content gives it.
pub fn identified(mut event: CanonicalEvent) -> CanonicalEvent {
    event.event_id = EventId::derive(&[
        &event.provider,
        &event.source,
        event.message_id.as_deref().unwrap_or_default(),
        event.recipient.as_str(),
        event.kind.as_str(),
        &event.occurred_at.as_micros().to_string(),
    ]);
    event
}

/// A delta of a recipient at a position: `scope` changed, and this is in force afterwards. Triggered by an event of this
/// kind from the `default` source of a provider. Change its fields as the test needs.
pub fn delta(
    address: &str,
    scope: &Scope,
    in_force: &[(Scope, Reason)],
    (provider, kind): (&str, Kind),
    position: u64,
) -> Delta {
    let event_id = EventId::derive(&["trigger", address, &position.to_string()]);
    let seconds = i64::try_from(position).unwrap_or(0);
    let standing = |reason| Standing {
        reason,
        since: at(seconds),
        until: None,
        rule: "test".to_owned(),
        event_id,
        provider: provider.to_owned(),
        source: "default".to_owned(),
        incident: None,
    };
    let now = in_force.iter().find(|(one, _)| one == scope).map(|(_, reason)| standing(*reason));
    Delta {
        delta_id: EventId::derive(&["delta", address, &scope.to_string(), &position.to_string()]),
        key: recipient_key(address),
        address: address.to_owned(),
        scope: scope.clone(),
        change: if now.is_some() { Change::Suppressed } else { Change::Released },
        before: if now.is_some() { None } else { Some(standing(Reason::HardBounce)) },
        now,
        in_force: in_force.to_vec(),
        provisional: Vec::new(),
        trigger: Trigger {
            event_id,
            kind,
            provider: provider.to_owned(),
            source: "default".to_owned(),
            receipt_id: format!("receipt-{position}"),
        },
        decided_at: at(seconds + 1),
        position,
        policy: 1,
    }
}

/// Another tenant's name. What no tenant can be called becomes the default tenant.
pub fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap_or_default()
}
