use super::*;
use crate::{EventId, Failure, Recipient, Tenant, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn rule(text: &str) -> UserRule {
    UserRule {
        id: "house.leaver".to_owned(),
        provider: None,
        source: None,
        domain: None,
        text: Some(text.to_owned()),
        smtp_code: None,
        enhanced_status: None,
        provider_code: None,
        attribution: Attribution::Recipient,
        class: FailureClass::Disabled,
        permanent: Some(true),
    }
}

fn bounced(kind: Kind, diagnostic: &str) -> CanonicalEvent {
    let evidence = super::super::Evidence { diagnostic: Some(diagnostic), ..Default::default() };
    let verdict = super::super::classify(&evidence);
    let failure = Failure { provider_code: Some("17".to_owned()), ..verdict.into_failure(Some(diagnostic)) };
    CanonicalEvent {
        event_id: EventId::derive(&["one"]),
        tenant: Tenant::default(),
        recipient: Recipient::email("jane@mail.example.com").unwrap(),
        channel: Channel::Email,
        address: "jane@mail.example.com".to_owned(),
        kind,
        provider_kind: "bounce".to_owned(),
        occurred_at: Timestamp::from_seconds(1_768_919_600).unwrap(),
        received_at: Timestamp::from_seconds(1_768_919_600).unwrap(),
        rules: 1,
        provider: "sendgrid".to_owned(),
        source: "default".to_owned(),
        message_id: None,
        campaign: None,
        categories: Vec::new(),
        failure: Some(failure),
        scope: None,
        machine: false,
        echo: false,
        metadata: BTreeMap::new(),
        receipt_id: "receipt".to_owned(),
    }
}

#[test]
fn conditions_all_hold() {
    let reply = "550 5.7.1 She has left the company";
    let fits = |change: fn(&mut UserRule)| {
        let mut rule = rule("left the COMPANY");
        change(&mut rule);
        let mut event = bounced(Kind::BouncedSoft, reply);
        UserRules::new(&[rule]).unwrap().apply(&mut event)
    };
    assert!(fits(|_| {}));
    assert!(fits(|rule| rule.provider = Some("sendgrid".to_owned())));
    assert!(!fits(|rule| rule.provider = Some("mailgun".to_owned())));
    assert!(fits(|rule| rule.source = Some("default".to_owned())));
    assert!(!fits(|rule| rule.source = Some("other".to_owned())));
    assert!(fits(|rule| rule.domain = Some("Example.COM.".to_owned())));
    assert!(fits(|rule| rule.domain = Some("mail.example.com".to_owned())));
    assert!(!fits(|rule| rule.domain = Some("ample.com".to_owned())));
    assert!(fits(|rule| rule.smtp_code = Some(550)));
    assert!(!fits(|rule| rule.smtp_code = Some(551)));
    assert!(fits(|rule| rule.enhanced_status = Some("5.7".to_owned())));
    assert!(fits(|rule| rule.enhanced_status = Some("5.7.1".to_owned())));
    assert!(!fits(|rule| rule.enhanced_status = Some("5.7.12".to_owned())));
    assert!(fits(|rule| (rule.text, rule.provider_code) = (None, Some("17".to_owned()))));
    assert!(!fits(|rule| rule.provider_code = Some("18".to_owned())));
}

#[test]
fn the_first_that_fits_decides_and_its_id_is_kept() {
    let second = UserRule { id: "second".to_owned(), permanent: None, ..rule("company") };
    let rules = UserRules::new(&[rule("left"), second]).unwrap();
    let told = |kind, reply: &str| {
        let mut event = bounced(kind, reply);
        rules.apply(&mut event);
        let failure = event.failure.unwrap();
        (event.kind, failure.attribution, failure.class, failure.rule)
    };
    let own = (Attribution::Recipient, FailureClass::Disabled);
    let first = (Kind::BouncedHard, own.0, own.1, "user.house.leaver".to_owned());
    assert_eq!(told(Kind::BouncedSoft, "550 5.7.1 left the company"), first);
    // Without `permanent` a bounce stays what it was.
    assert_eq!(told(Kind::BouncedSoft, "550 the company"), (Kind::BouncedSoft, own.0, own.1, "user.second".to_owned()));
    assert_eq!(told(Kind::BouncedHard, "550 the company"), (Kind::BouncedHard, own.0, own.1, "user.second".to_owned()));
    // What is no bounce keeps its kind.
    assert_eq!(told(Kind::Deferred, "450 left"), (Kind::Deferred, own.0, own.1, "user.house.leaver".to_owned()));
    assert_eq!(told(Kind::BouncedHard, "550 5.1.1 gone").3, "enhanced.5.1.1");
}

#[test]
fn a_rule_takes_the_blame_off_a_recipient() {
    let lenient = UserRule { attribution: Attribution::Domain, class: FailureClass::Policy, ..rule("user unknown") };
    let mut event = bounced(Kind::BouncedHard, "550 5.1.1 user unknown");
    assert!(UserRules::new(&[lenient]).unwrap().apply(&mut event));
    assert_eq!((event.kind, event.failure.unwrap().attribution), (Kind::BouncedSoft, Attribution::Domain));
}

#[test]
fn events_without_a_failure_are_left_alone() {
    let mut event = bounced(Kind::Delivered, "x");
    event.failure = None;
    let before = event.clone();
    assert!(!UserRules::new(&[rule("x")]).unwrap().apply(&mut event));
    assert_eq!(event, before);
}

#[test]
fn says_what_is_wrong() {
    #[track_caller]
    fn refused(rules: &[UserRule], expected: &str) {
        let error = UserRules::new(rules).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let base = rule("x");
    refused(&[base.clone(), base.clone()], "two rules have this id");
    refused(&[UserRule { id: "A b".to_owned(), ..base.clone() }], "lower-case letters");
    refused(&[UserRule { text: None, ..base.clone() }], "fits every failure");
    refused(&[UserRule { text: Some("(".to_owned()), ..base.clone() }], "no regular expression");
    refused(&[UserRule { text: Some("x?".to_owned()), ..base.clone() }], "fits every reply");
    refused(&[UserRule { text: Some("(\\w{500}){500}".to_owned()), ..base.clone() }], "no regular expression");
    refused(&[UserRule { smtp_code: Some(250), ..base.clone() }], "400 to 599");
    refused(&[UserRule { enhanced_status: Some("7.1".to_owned()), ..base.clone() }], "class 4 or 5");
    refused(&[UserRule { domain: Some("*.example.com".to_owned()), ..base.clone() }], "what is below");
    refused(&[UserRule { class: FailureClass::Reputation, ..base.clone() }], "never the recipient's own failure");
    refused(&[UserRule { attribution: Attribution::Sender, ..base.clone() }], "is the recipient's own failure");
    refused(&[UserRule { class: FailureClass::Undetermined, ..base.clone() }], "never for good");
    let many: Vec<UserRule> = (0..=500).map(|n| UserRule { id: format!("r{n}"), ..base.clone() }).collect();
    refused(&many, "more than 500 rules");
}

proptest! {
    /// Whatever reply comes in, a rule that blames another than the recipient leaves nothing that could suppress.
    #[test]
    fn a_refusal_of_another_never_suppresses(
        reply in "\\PC{1,200}",
        attribution in 1_usize..5,
        class in 0_usize..19,
        hard in any::<bool>(),
        permanent in any::<Option<bool>>(),
    ) {
        let (attribution, class) = (Attribution::ALL[attribution], FailureClass::ALL[class]);
        let code = UserRule { text: None, provider_code: Some("17".to_owned()), attribution, class, permanent, ..rule("x") };
        let Ok(rules) = UserRules::new(&[code]) else { return Ok(()) };
        let mut event = bounced(if hard { Kind::BouncedHard } else { Kind::BouncedSoft }, &reply);
        prop_assert!(rules.apply(&mut event));
        prop_assert_ne!(event.failure.unwrap().attribution, Attribution::Recipient);
    }
}
