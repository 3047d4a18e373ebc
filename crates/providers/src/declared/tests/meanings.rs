//! What words become, and which events are one.

use super::{LARKPOST, adapter, events, told};
use domain::{CanonicalEvent, Kind};

const JSON: &str = "application/json";

fn mapped(event: &str, maps: &str) -> String {
    format!(
        "name = \"acme\"\n[authentication]\nscheme = \"none\"\n[event]\nword = \"type\"\nrecipient = \"to\"\n{event}\n{maps}"
    )
}

#[track_caller]
fn one(text: &str, body: &str) -> CanonicalEvent {
    let [event] = events(adapter(text), JSON, body).try_into().unwrap();
    event
}

#[test]
fn every_kind_can_be_meant() {
    let check = |kind: &str, expected: &str| {
        let text = mapped("", &format!("[[map]]\nword = \"x\"\nkind = \"{kind}\""));
        assert_eq!(told(adapter(&text), JSON, r#"{"type":"x","to":"a@example.com"}"#), [expected], "{kind}");
    };
    for kind in
        ["accepted", "delivered", "deferred", "bounced_hard", "bounced_soft", "rejected", "complaint", "unsubscribed"]
    {
        check(kind, &format!("{kind} a@example.com"));
    }
    for kind in ["resubscribed", "opened", "clicked", "unknown"] {
        check(kind, &format!("{kind} a@example.com"));
    }
    check("bounced", "bounced_soft a@example.com");
    check("ignored", "ignored ignored_by_adapter");
}

#[test]
fn details_are_tried_in_the_order_of_the_file() {
    let maps = "[[map]]\nword = [\"bounce\", \"fail\"]\ndetail = [\"hard\", \"5\"]\nkind = \"bounced_hard\"\n\
                [[map]]\nword = \"bounce\"\ndetail = \"auto-reply\"\nkind = \"ignored\"\n\
                [[map]]\nword = \"bounce\"\nkind = \"bounced_soft\"";
    let text = mapped("detail = [\"class\", \"code\"]", maps);
    let check = |rest: &str, expected: &str| {
        let body = format!(r#"{{"to":"a@example.com",{rest}}}"#);
        assert_eq!(told(adapter(&text), JSON, &body), [expected], "{rest}");
    };
    check(r#""type":"bounce","class":"hard""#, "bounced_hard a@example.com");
    check(r#""type":"fail","code":5"#, "bounced_hard a@example.com");
    check(r#""type":" bounce ","class":"auto-reply""#, "ignored ignored_by_adapter");
    check(r#""type":"bounce","class":"else""#, "bounced_soft a@example.com");
    check(r#""type":"bounce""#, "bounced_soft a@example.com");
    check(r#""type":"fail","class":"else""#, "unknown a@example.com");
    check(r#""type":"Bounce""#, "unknown a@example.com");
    check(r#""type":null"#, "dead missing_word");
}

#[test]
fn hints_and_replies_make_the_failure() {
    let event = "reason = \"reply\"\ncode = \"code\"\nsmtp_code = \"smtp\"\nattempt = \"n\"";
    let map = |lines: &str| mapped(event, &format!("[[map]]\nword = \"x\"\n{lines}"));
    let check = |lines: &str, rest: &str, expected: (Kind, &str, &str, bool)| {
        let event = one(&map(lines), &format!(r#"{{"type":"x","to":"a@example.com"{rest}}}"#));
        let failure = event.failure.unwrap();
        let found = (event.kind, failure.attribution.as_str(), failure.class.as_str(), failure.rule == "adapter.map");
        assert_eq!(found, expected, "{lines} {rest}");
    };
    let full = r#","reply":"552 5.2.2 mailbox full""#;
    let hint = "kind = \"bounced_hard\"\nattribution = \"recipient\"\nclass = \"disabled\"";
    check(hint, "", (Kind::BouncedHard, "recipient", "disabled", true));
    check("kind = \"bounced_hard\"", full, (Kind::BouncedSoft, "recipient", "mailbox_full", false));
    check(hint, full, (Kind::BouncedSoft, "recipient", "mailbox_full", false));
    check(&format!("{hint}\nfirm = true"), full, (Kind::BouncedHard, "recipient", "disabled", true));
    let sender = "kind = \"bounced_soft\"\nattribution = \"sender\"\nclass = \"reputation\"";
    check(sender, "", (Kind::BouncedSoft, "sender", "reputation", true));
    check("kind = \"rejected\"", "", (Kind::Rejected, "provider", "undetermined", true));
    check("kind = \"deferred\"", r#","smtp":"451 later""#, (Kind::Deferred, "domain", "undetermined", false));
    let failure =
        one(&map(hint), r#"{"type":"x","to":"a@example.com","code":"E7","n":"3","smtp":550}"#).failure.unwrap();
    assert_eq!(
        (failure.provider_code.as_deref(), failure.attempt, failure.smtp_code),
        (Some("E7"), Some(3), Some(550))
    );
}

#[test]
fn scopes_are_those_that_are_named() {
    let text = |kind: &str, scope: &str| {
        mapped("list = \"list\"\nsender = \"from\"", &format!("[[map]]\nword = \"x\"\nkind = \"{kind}\"\n{scope}"))
    };
    let check = |kind: &str, scope: &str, rest: &str, expected: &str| {
        let scope = if scope.is_empty() { String::new() } else { format!("scope = \"{scope}\"") };
        let body = format!(r#"{{"type":"x","to":"a@example.com"{rest}}}"#);
        let found = one(&text(kind, &scope), &body).scope.map(|scope| scope.to_string());
        assert_eq!(found.as_deref(), Some(expected), "{kind} {scope}");
    };
    check("unsubscribed", "", "", "marketing");
    check("unsubscribed", "all", "", "all");
    check("unsubscribed", "category:news", "", "category:news");
    check("unsubscribed", "list", r#","list":" weekly ""#, "category:weekly");
    check("unsubscribed", "list", "", "marketing");
    check("resubscribed", "list", r#","list":7"#, "category:7");
    check("unsubscribed", "sender", r#","from":"+1555""#, "sender:+1555");
    check("resubscribed", "", "", "marketing");
    let unnamed = adapter(&text("resubscribed", "scope = \"list\""));
    assert_eq!(told(unnamed, JSON, r#"{"type":"x","to":"a@example.com"}"#), ["dead missing_list"]);
}

#[test]
fn machines_echoes_and_metadata() {
    let event = "machine = \"bot\"\nmetadata = [\"custom\", \"pool\", \"nested.deep\"]";
    let text = mapped(
        event,
        "[[map]]\nword = \"x\"\nkind = \"opened\"\n[[map]]\nword = \"y\"\nkind = \"opened\"\nmachine = true\necho = true",
    );
    let event = one(
        &text,
        r#"{"type":"x","to":"Jane <a@example.com>","bot":"yes","custom":{"a":1,"b":"two"},"pool":"p","nested":{"deep":[1]}}"#,
    );
    assert!(event.machine && !event.echo);
    let metadata: Vec<(&str, &str)> =
        event.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(metadata, [("a", "1"), ("b", "two"), ("deep", "[1]"), ("pool", "p")]);
    assert_eq!(event.address, "a@example.com");
    let event = one(&text, r#"{"type":"y","to":"a@example.com"}"#);
    assert!(event.machine && event.echo);
    assert!(!one(&text, r#"{"type":"x","to":"a@example.com","bot":false}"#).machine);
}

#[test]
fn a_retry_has_the_same_ids_and_another_event_another() {
    let id = |text: &str, body: &str| one(text, body).event_id;
    let digested = mapped("time = \"at\"", "[[map]]\nword = \"x\"\nkind = \"clicked\"");
    let body = r#"{"type":"x","to":"a@example.com","at":"2026-01-20T14:32:15Z","link":"a b","n":1}"#;
    assert_eq!(id(&digested, body), id(&digested, body));
    assert_eq!(id(&digested, body), id(&digested, &body.replace(',', " ,\n ")), "white space between parts is no part");
    assert_ne!(id(&digested, body), id(&digested, &body.replace("a b", "ab")), "white space in a text is");
    assert_ne!(id(&digested, body), id(&digested, &body.replace(":15Z", ":16Z")));
    // What tells events apart can be said, where something else changes with each try.
    let named = mapped("identity = [\"link\", \"list\"]", "[[map]]\nword = \"x\"\nkind = \"clicked\"");
    assert_eq!(id(&named, body), id(&named, &body.replace("\"n\":1", "\"n\":2")));
    assert_ne!(id(&named, body), id(&named, &body.replace("a b", "c")));
    // An id says it all, beside message, recipient, word and time.
    let numbered = mapped("id = \"n\"", "[[map]]\nword = \"x\"\nkind = \"clicked\"");
    assert_eq!(id(&numbered, body), id(&numbered, &body.replace("a b", "c")));
    assert_ne!(id(&numbered, body), id(&numbered, &body.replace("\"n\":1", "\"n\":2")));
    assert_ne!(id(&numbered, body), id(&numbered, &body.replace("a@example", "b@example")));
    assert_ne!(id(&numbered, &body.replace("\"n\":1", "\"n\":null")), id(&numbered, &body.replace("\"n\":1,", "")));
    // The mapping is no part of it: a mended one corrects an event.
    let mended = mapped("id = \"n\"", "[[map]]\nword = \"x\"\nkind = \"opened\"");
    assert_eq!(id(&numbered, body), id(&mended, body));
}

#[test]
fn a_batch_sent_again_and_cut_differently_has_the_same_ids() {
    let larkpost = adapter(LARKPOST);
    let event = |n: u8| {
        format!(r#"{{"id":"evt_{n}","type":"delivered","at":"2026-01-20T14:32:15Z","to":{{"email":"a@example.com"}}}}"#)
    };
    let ids = |body: String| events(larkpost, JSON, &body).into_iter().map(|event| event.event_id).collect::<Vec<_>>();
    let both = ids(format!(r#"{{"events":[{},{}]}}"#, event(1), event(2)));
    assert_ne!(both[0], both[1]);
    assert_eq!(both[1..], ids(format!(r#"{{"delivery":"again","events":[{}]}}"#, event(2))));
}
