use super::*;
use crate::{Attribution as A, FailureClass as F};
use proptest::prelude::*;

/// A provider's "hard" with this reply.
#[track_caller]
fn check(reply: &str, attribution: A, class: F, kind: Kind, rule: &str) {
    let evidence = Evidence { permanent: Some(true), diagnostic: Some(reply), ..Evidence::default() };
    let verdict = classify(&evidence);
    let found = (verdict.attribution, verdict.class, verdict.bounce(), verdict.rule.as_str());
    assert_eq!(found, (attribution, class, kind, rule), "{reply}");
}

#[test]
fn dead_addresses() {
    use Kind::BouncedHard as Hard;
    let unknown = [
        ("550 5.1.1 The email account that you tried to reach does not exist.", "enhanced.5.1.1"),
        ("smtp;550 5.1.1 <jane@example.com>: user unknown", "enhanced.5.1.1"),
        ("500 unknown recipient", "text.unknown_recipient"),
        ("550 No such user here", "text.unknown_recipient"),
        ("Address does not exist", "text.unknown_recipient"),
        ("550 <spam.policy@example.com>... User unknown", "text.unknown_recipient"),
        ("550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302)", "text.unknown_recipient"),
        ("550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [host]", "text.directory_edge_block"),
        ("550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found by SMTP address lookup", "text.directory_edge_block"),
        (
            "550 5.1.1 <j@example.com>: Recipient address rejected: User unknown in virtual mailbox table",
            "enhanced.5.1.1",
        ),
        (
            "550-5.1.1 The email account that you tried to reach does not exist. Please try 550-5.1.1 double-checking the \
             recipient's email address for typos. https://support.google.com/mail/?p=NoSuchUser",
            "enhanced.5.1.1",
        ),
        (
            "host mx.example.com[192.0.2.1] said: 550 user not found (in reply to RCPT TO command)",
            "text.unknown_recipient",
        ),
        ("550 User jane not listed in Domino Directory", "text.unknown_recipient"),
        ("550 No such recipient here", "text.unknown_recipient"),
        ("550 Invalid recipient", "text.unknown_recipient"),
        ("550 unknown or illegal alias", "text.unknown_recipient"),
        ("550 5.0.0 failed", "provider.hard"),
        ("550 permanent failure for one or more recipients", "provider.hard"),
        ("", "provider.hard"),
    ];
    for (reply, rule) in unknown {
        check(reply, A::Recipient, F::UnknownRecipient, Hard, rule);
    }
    check("550 5.2.1 The email account is disabled", A::Recipient, F::Disabled, Hard, "enhanced.5.2.1");
    check("554 delivery error: this account has been deactivated", A::Recipient, F::Disabled, Hard, "text.disabled");
    check("550 mailbox is inactive", A::Recipient, F::Disabled, Hard, "text.disabled");
    check("550 5.1.2 try elsewhere", A::Domain, F::BadDomain, Hard, "enhanced.5.1.2");
    check("the domain nowhere.example does not exist", A::Domain, F::BadDomain, Hard, "text.bad_domain");
    check("556 the host does not take mail", A::Domain, F::BadDomain, Hard, "text.bad_domain");
}

#[test]
fn what_is_not_the_recipients_failure_is_never_hard() {
    let cases = [
        ("550 5.7.1 blocked", A::Sender, F::Policy, "enhanced.5.7"),
        (
            "550 5.7.1 Service unavailable; client host [192.0.2.7] blocked using Spamhaus",
            A::Sender,
            F::Reputation,
            "text.blocklist",
        ),
        ("550 5.1.1 rejected, your IP 192.0.2.7 is on our blocklist", A::Sender, F::Reputation, "text.blocklist"),
        ("554 Message rejected as spam", A::Message, F::Content, "text.spam_content"),
        ("552 5.7.0 this message was blocked because its content is malicious", A::Message, F::Content, "text.malware"),
        ("550 5.7.26 unauthenticated mail is prohibited", A::Sender, F::Policy, "enhanced.5.7.26"),
        ("550 fails DMARC verification", A::Sender, F::Policy, "text.authentication"),
        ("421 4.7.0 too many messages, slow down", A::Sender, F::Rate, "text.rate"),
        ("550 sender address rejected: domain not found", A::Sender, F::Policy, "text.sender"),
        ("550 your account has been suspended from sending", A::Sender, F::Policy, "text.sender"),
        ("550 Mail from domain rejected", A::Sender, F::Policy, "text.sender"),
        (
            "550 SC-001 mail rejected by Outlook.com for policy reasons; IP poor",
            A::Sender,
            F::Reputation,
            "text.blocklist",
        ),
        ("550 high volume of messages from you", A::Sender, F::Rate, "text.rate"),
        (
            "421 4.7.0 [TS01] Messages temporarily deferred due to user complaints",
            A::Sender,
            F::Reputation,
            "text.reputation",
        ),
        ("554 5.7.1 The message looks like spam to us", A::Message, F::Content, "text.spam_content"),
        ("501 syntax error", A::Provider, F::Protocol, "text.protocol"),
        ("552 5.3.4 too big", A::Message, F::Size, "enhanced.5.3.4"),
        ("554 message size exceeds the limit", A::Message, F::Size, "text.size"),
        ("unable to get mx info: failed to get IPs from PTR record: lookup <nil>", A::Domain, F::Dns, "text.mx_lookup"),
        ("550 5.4.4 cannot be routed", A::Domain, F::Dns, "enhanced.5.4.4"),
        ("connection timed out", A::Domain, F::Timeout, "text.timeout"),
        ("554 5.4.7 expired after 3 days", A::Domain, F::Timeout, "enhanced.5.4.7"),
        ("553 sorry, that address is not in my list of allowed rcpthosts", A::Domain, F::Relay, "text.relay"),
        ("554 relay access denied", A::Domain, F::Relay, "text.relay"),
        ("530 must issue a STARTTLS command first", A::Provider, F::Protocol, "text.protocol"),
        ("451 4.7.1 greylisted, come back later", A::Domain, F::Policy, "text.greylist"),
        ("550 5.6.0 broken", A::Message, F::Content, "enhanced.5.6"),
        ("502 what?", A::Provider, F::Protocol, "basic.502"),
        ("550 5.2.2 no room", A::Recipient, F::MailboxFull, "enhanced.5.2.2"),
        ("552 mailbox is full", A::Recipient, F::MailboxFull, "text.mailbox_full"),
        ("550 user is over quota", A::Recipient, F::MailboxFull, "text.mailbox_full"),
        ("450 4.1.1 unverified for now", A::Recipient, F::UnknownRecipient, "enhanced.4.1.1"),
    ];
    for (reply, attribution, class, rule) in cases {
        check(reply, attribution, class, Kind::BouncedSoft, rule);
    }
}

#[test]
fn a_providers_word_counts_for_what_it_is_worth() {
    let unknown_user = Some("550 5.1.1 user unknown");
    let firm = Word::Firm(A::Sender, F::Policy, "provider.blocked");
    let verdict = classify(&Evidence { word: Some(firm), diagnostic: unknown_user, ..Evidence::default() });
    assert_eq!((verdict.attribution, verdict.rule.as_str()), (A::Sender, "provider.blocked"));

    let weak = Word::Weak(A::Sender, F::Policy, "provider.blocked");
    let verdict = classify(&Evidence { word: Some(weak), diagnostic: unknown_user, ..Evidence::default() });
    assert_eq!((verdict.attribution, verdict.rule.as_str()), (A::Recipient, "enhanced.5.1.1"));
    let verdict = classify(&Evidence { word: Some(weak), diagnostic: Some("550 nope"), ..Evidence::default() });
    assert_eq!((verdict.attribution, verdict.rule.as_str()), (A::Sender, "provider.blocked"));

    let soft = classify(&Evidence { permanent: Some(false), diagnostic: unknown_user, ..Evidence::default() });
    assert_eq!((soft.bounce(), soft.class), (Kind::BouncedSoft, F::UnknownRecipient));
    let soft = classify(&Evidence { permanent: Some(false), diagnostic: Some("hm"), ..Evidence::default() });
    assert_eq!((soft.class, soft.rule.as_str()), (F::Unreachable, "provider.soft"));
    let nothing = classify(&Evidence::default());
    assert_eq!(
        (nothing.bounce(), nothing.class, nothing.rule.as_str()),
        (Kind::BouncedSoft, F::Undetermined, "undetermined")
    );
    let worded = classify(&Evidence { diagnostic: unknown_user, ..Evidence::default() });
    assert_eq!(worded.bounce(), Kind::BouncedHard);
}

#[test]
fn codes_are_read_from_replies() {
    #[track_caller]
    fn check(reply: &str, code: Option<u16>, enhanced: Option<&str>) {
        let verdict = classify(&Evidence { diagnostic: Some(reply), ..Evidence::default() });
        let status = verdict.enhanced_status.map(|status| status.to_string());
        assert_eq!((verdict.smtp_code, status.as_deref()), (code, enhanced), "{reply}");
    }
    check("550 5.1.1 x", Some(550), Some("5.1.1"));
    check("550-5.1.1 x", Some(550), Some("5.1.1"));
    check("smtp; 452 4.2.2 x", Some(452), Some("4.2.2"));
    check("host mx.example[192.0.2.1] said: 554 x (in reply to end of DATA)", Some(554), None);
    check("mx.example (5.188.10.2) refused", None, None);
    check("rejected by 5.1.1.1: 550 5.7.1 x", Some(550), Some("5.7.1"));
    check("line 5501 of 421", None, None);
    check("5.1", None, None);
    check("550 5.1.1.", Some(550), Some("5.1.1"));
    let given = Evidence { enhanced_status: Some("5.0.0"), diagnostic: Some("550 5.1.1 x"), ..Evidence::default() };
    assert_eq!(classify(&given).enhanced_status.map(|s| s.to_string()).as_deref(), Some("5.1.1"));
}

proptest! {
    #[test]
    fn any_text_gets_a_bounded_verdict(reply in "\\PC{0,3000}", status in "\\PC{0,12}", code in any::<u16>(), hard in any::<Option<bool>>()) {
        let evidence = Evidence {
            word: None, permanent: hard, smtp_code: Some(code), enhanced_status: Some(&status), diagnostic: Some(&reply),
        };
        let verdict = classify(&evidence);
        prop_assert!(verdict.smtp_code.is_none_or(|code| (400..600).contains(&code)));
        if hard == Some(false) {
            prop_assert_eq!(verdict.bounce(), Kind::BouncedSoft);
        }
        let failure = verdict.into_failure(Some(&reply));
        prop_assert!(failure.diagnostic.is_none_or(|text| text.len() <= DIAGNOSTIC_BYTES_MAX));
        prop_assert!(failure.rule.len() <= 64);
    }
}
