mod others;

use super::*;
use http::HeaderMap;

fn settings(provider: &str) -> ApiSettings {
    let api = suppression_api(provider).unwrap();
    let text = |providers: &[&str], value: &str| providers.contains(&provider).then(|| value.to_owned());
    let number = if provider == "mailtrap" { "12345" } else { "d-1" };
    let settings = ApiSettings {
        base_url: api.base_url().replace("{region}", "eu-west-1"),
        credential: "key-1".to_owned(),
        key_id: text(&["ses", "mailjet", "twilio"], "id-1"),
        session_token: None,
        region: text(&["ses"], "eu-west-1").or(text(&["scaleway"], "fr-par")),
        account: text(&["drip"], "9999"),
        domain: text(&["mailgun", "mailtrap"], "mg.example.com"),
        domain_id: text(&["mailersend", "mailtrap", "scaleway"], number),
        stream: text(&["postmark"], "broadcast").or(text(&["mailtrap"], "bulk")),
        senders: text(&["twilio"], "MG1").into_iter().collect(),
        groups: if provider == "sendgrid" { BTreeMap::from([("news".to_owned(), 7)]) } else { BTreeMap::new() },
    };
    assert_eq!(api.check(&settings), Ok(()));
    settings
}

fn scopes(text: &str) -> std::collections::BTreeSet<Scope> {
    text.split_whitespace().map(|scope| scope.parse().unwrap()).collect()
}

fn shown(edits: &[Edit]) -> String {
    let one = |edit: &Edit| {
        let sign = if edit.action == Action::Add { "+" } else { "-" };
        let tags = if edit.tags.is_empty() { String::new() } else { format!("[{}]", edit.tags.join(" ")) };
        format!("{sign}{}{tags}", edit.list)
    };
    edits.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check_edits(provider: &str, in_force: &str, held: &str, released: &str, by_hand: bool, expected: &str) {
    let api = suppression_api(provider).unwrap();
    let desired = Desired { in_force: scopes(in_force), held: scopes(held), released: scopes(released), by_hand };
    assert_eq!(shown(&edits(api, &settings(provider), &desired)), expected, "{provider}: {desired:?}");
}

#[test]
fn scopes_become_entries() {
    for scope in ["all", "non_critical", "marketing", "all marketing"] {
        check_edits("sendgrid", scope, "", "", false, "+global");
        check_edits("postmark", scope, "", "", false, "+suppressions");
    }
    check_edits("sendgrid", "category:news", "", "", false, "+group/7");
    check_edits("sendgrid", "category:42 category:unheard-of", "", "", false, "+group/42");
    check_edits("mailgun", "all", "", "", false, "+bounces");
    check_edits("mailgun", "non_critical", "", "", false, "+complaints");
    check_edits("mailgun", "marketing", "", "", false, "+unsubscribes[*]");
    check_edits("mailgun", "all category:a category:b", "", "", false, "+bounces +unsubscribes[a b]");
    check_edits("postmark", "category:broadcast", "", "", false, "+suppressions");
    check_edits("postmark", "category:other", "", "", false, "");
    for provider in ["sendgrid", "mailgun", "postmark"] {
        check_edits(provider, "sender:+15550001111", "", "", false, "");
    }
}

#[test]
fn what_a_provider_holds_is_not_told_but_stays_wanted() {
    check_edits("sendgrid", "all", "all", "", false, "");
    check_edits("sendgrid", "all marketing", "all", "", false, "+global");
    check_edits("mailgun", "all marketing", "all", "", false, "+unsubscribes[*]");
    // What is held is not taken off by another scope's release either.
    check_edits("sendgrid", "marketing", "marketing", "category:7", false, "-group/7");
    check_edits("sendgrid", "non_critical", "non_critical", "marketing", false, "");
}

#[test]
fn releases_take_off_every_list_that_holds() {
    check_edits("sendgrid", "", "", "all", false, "-blocks -bounces -global -invalid_emails");
    check_edits("sendgrid", "", "", "all", true, "-blocks -bounces -global -invalid_emails -spam_reports");
    check_edits("sendgrid", "", "", "category:7", false, "-blocks -bounces -global -group/7 -invalid_emails");
    check_edits("sendgrid", "marketing", "", "all", false, "-blocks -bounces -invalid_emails +global");
    check_edits("sendgrid", "all", "", "marketing", false, "+global");
    check_edits("mailgun", "", "", "all", false, "-bounces -unsubscribes");
    check_edits("mailgun", "", "", "non_critical", true, "-bounces -complaints -unsubscribes");
    check_edits("mailgun", "all", "", "non_critical", false, "+bounces");
    check_edits("mailgun", "all", "", "non_critical", true, "-complaints +bounces");
    check_edits("mailgun", "all category:a", "", "marketing", false, "-unsubscribes[*] +bounces +unsubscribes[a]");
    check_edits("mailgun", "all", "", "marketing category:a", false, "-unsubscribes[*] -unsubscribes[a] +bounces");
    check_edits("postmark", "", "", "marketing", false, "-suppressions");
    check_edits("postmark", "all", "", "marketing", false, "+suppressions");
}

fn edit(action: Action, list: &str, tags: &[&str]) -> Edit {
    Edit { action, list: list.to_owned(), tags: tags.iter().map(|tag| (*tag).to_owned()).collect() }
}

#[track_caller]
fn check_request(provider: &str, edit: &Edit, addresses: &[&str], expected: &str) {
    let request = suppression_api(provider).unwrap().request(&settings(provider), edit, addresses);
    let body = String::from_utf8(request.body.unwrap_or_default()).unwrap();
    assert_eq!(format!("{} {} {body}", request.method, request.url).trim_end(), expected);
    assert_eq!(body.is_empty(), !request.headers.iter().any(|(name, _)| *name == "content-type"));
}

#[test]
fn requests_are_those_of_the_documents() {
    let (add, remove) = (Action::Add, Action::Remove);
    let odd = "a+b/c%d@example.com";
    check_request(
        "sendgrid",
        &edit(add, "global", &[]),
        &["a@x.org", "b@x.org"],
        r#"POST https://api.sendgrid.com/v3/asm/suppressions/global {"recipient_emails":["a@x.org","b@x.org"]}"#,
    );
    check_request(
        "sendgrid",
        &edit(add, "group/7", &[]),
        &["a@x.org"],
        r#"POST https://api.sendgrid.com/v3/asm/groups/7/suppressions {"recipient_emails":["a@x.org"]}"#,
    );
    check_request(
        "sendgrid",
        &edit(remove, "global", &[]),
        &[odd],
        "DELETE https://api.sendgrid.com/v3/asm/suppressions/global/a%2Bb%2Fc%25d%40example.com",
    );
    check_request(
        "sendgrid",
        &edit(remove, "bounces", &[]),
        &["a@x.org"],
        r#"DELETE https://api.sendgrid.com/v3/suppression/bounces {"emails":["a@x.org"]}"#,
    );
    check_request(
        "mailgun",
        &edit(add, "unsubscribes", &["*"]),
        &["a@x.org"],
        r#"POST https://api.mailgun.net/v3/mg.example.com/unsubscribes [{"address":"a@x.org","tags":["*"]}]"#,
    );
    check_request(
        "mailgun",
        &edit(add, "bounces", &[]),
        &["a@x.org"],
        r#"POST https://api.mailgun.net/v3/mg.example.com/bounces [{"address":"a@x.org","code":"550","error":"suppressed by Quell"}]"#,
    );
    check_request(
        "mailgun",
        &edit(remove, "unsubscribes", &["*"]),
        &[odd],
        "DELETE https://api.mailgun.net/v3/mg.example.com/unsubscribes/a%2Bb%2Fc%25d%40example.com?tag=%2A",
    );
    check_request(
        "postmark",
        &edit(add, "suppressions", &[]),
        &["a@x.org"],
        r#"POST https://api.postmarkapp.com/message-streams/broadcast/suppressions {"Suppressions":[{"EmailAddress":"a@x.org"}]}"#,
    );
    check_request(
        "postmark",
        &edit(remove, "suppressions", &[]),
        &["a@x.org"],
        r#"POST https://api.postmarkapp.com/message-streams/broadcast/suppressions/delete {"Suppressions":[{"EmailAddress":"a@x.org"}]}"#,
    );
}

#[test]
fn credentials_go_where_they_belong_and_are_not_shown() {
    let header = |provider: &str, name: &str| {
        let request =
            suppression_api(provider).unwrap().request(&settings(provider), &edit(Action::Add, "x", &[]), &["a@x.org"]);
        let shown = format!("{request:?} {:?}", settings(provider));
        assert!(!shown.contains("key-1") && !shown.contains("a@x.org"), "{shown}");
        request.headers.into_iter().find(|(one, _)| *one == name).unwrap().1
    };
    assert_eq!(header("sendgrid", "authorization"), "Bearer key-1");
    assert_eq!(header("mailgun", "authorization"), "Basic YXBpOmtleS0x");
    assert_eq!(header("postmark", "x-postmark-server-token"), "key-1");
}

fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> ApiAnswer {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().unwrap());
    }
    ApiAnswer { status, headers: map, body: body.as_bytes().to_vec() }
}

const NOW: i64 = 784_111_777;

#[track_caller]
fn check_answer(provider: &str, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, expected: &str) {
    let now = Timestamp::from_seconds(NOW).unwrap();
    let answered = suppression_api(provider).unwrap().interpret(edit, addresses, answer, now);
    let shown = match answered {
        Answered::Items(items) => {
            let one = |item: &ItemResult| match item {
                ItemResult::Done => "done".to_owned(),
                ItemResult::Refused(detail) => format!("refused({detail})"),
            };
            items.iter().map(one).collect::<Vec<_>>().join(" ")
        }
        Answered::Split(_) => "split".to_owned(),
        Answered::Retry { after, unclear, .. } => format!("retry {after:?} unclear={unclear}"),
        Answered::Blocked(detail) => format!("blocked {detail}"),
    };
    assert_eq!(shown, expected, "{provider}");
}

#[test]
fn answers_are_understood() {
    let (add, remove) = (edit(Action::Add, "global", &[]), edit(Action::Remove, "global", &[]));
    let two = ["a@x.org", "b@x.org"];
    let one = ["a@x.org"];
    check_answer(
        "sendgrid",
        &add,
        &two,
        &answer(201, &[], r#"{"recipient_emails":["A@x.org","b@x.org"]}"#),
        "done done",
    );
    check_answer(
        "sendgrid",
        &add,
        &two,
        &answer(201, &[], r#"{"recipient_emails":["b@x.org"]}"#),
        "refused(left out of the answer) done",
    );
    check_answer("sendgrid", &remove, &one, &answer(204, &[], ""), "done");
    for (provider, status) in [("sendgrid", 404), ("mailgun", 404)] {
        check_answer(provider, &remove, &one, &answer(status, &[], ""), "done");
    }
    let bad = r#"{"errors":[{"message":"bad@@address is not valid","field":null}]}"#;
    check_answer("sendgrid", &add, &two, &answer(400, &[], bad), "split");
    check_answer("sendgrid", &add, &one, &answer(400, &[], bad), "refused(status 400: (address) is not valid)");
    check_answer("mailgun", &add, &one, &answer(400, &[], r#"{"message":"Invalid"}"#), "refused(status 400: Invalid)");
    check_answer("sendgrid", &add, &one, &answer(401, &[], bad), "blocked status 401: (address) is not valid");
    check_answer("mailgun", &add, &one, &answer(403, &[], "no"), "blocked status 403: no");
    check_answer(
        "mailgun",
        &add,
        &one,
        &answer(404, &[], r#"{"message":"Domain not found"}"#),
        "blocked status 404: Domain not found",
    );
    check_answer(
        "sendgrid",
        &edit(Action::Add, "group/9", &[]),
        &one,
        &answer(404, &[], ""),
        "refused(no such unsubscribe group)",
    );
    check_answer("postmark", &remove, &one, &answer(404, &[], ""), "blocked status 404: ");
    check_answer(
        "postmark",
        &add,
        &one,
        &answer(422, &[], r#"{"ErrorCode":1226,"Message":"no stream"}"#),
        "blocked status 422: no stream",
    );
    check_answer(
        "postmark",
        &remove,
        &two,
        &answer(
            200,
            &[],
            r#"{"Suppressions":[{"EmailAddress":"b@x.org","Status":"Failed","Message":"b@x.org may not be changed"},{"EmailAddress":"a@x.org","Status":"Deleted","Message":null}]}"#,
        ),
        "done refused((address) may not be changed)",
    );
    check_answer("postmark", &add, &one, &answer(200, &[], "<html>"), "retry None unclear=true");
    check_answer("sendgrid", &add, &one, &answer(302, &[], ""), "blocked status 302: ");
}

#[test]
fn waits_are_read_from_headers() {
    let add = edit(Action::Add, "global", &[]);
    let cases: &[(u16, &'static str, &str, &str)] = &[
        (429, "retry-after", "7", "retry Some(7s) unclear=false"),
        (503, "retry-after", "120", "retry Some(120s) unclear=true"),
        (429, "retry-after", "Sun, 06 Nov 1994 08:49:47 GMT", "retry Some(10s) unclear=false"),
        (429, "retry-after", "Sun, 06 Nov 1994 08:00:00 GMT", "retry Some(0ns) unclear=false"),
        (429, "retry-after", "soon", "retry None unclear=false"),
        (429, "x-ratelimit-reset", "784111782", "retry Some(5s) unclear=false"),
        (429, "x-ratelimit-reset", "784111782000", "retry Some(5s) unclear=false"),
        (429, "x-ratelimit-reset", "3", "retry Some(3s) unclear=false"),
        (429, "x-ratelimit-reset", "9999999999", "retry Some(86400s) unclear=false"),
        (500, "x-ratelimit-reset", "3", "retry None unclear=true"),
    ];
    for (status, name, value, expected) in cases {
        check_answer("sendgrid", &add, &["a@x.org"], &answer(*status, &[(name, value)], ""), expected);
    }
    let now = Timestamp::from_seconds(NOW).unwrap();
    let told = answer(201, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "784111779")], "");
    assert_eq!(budget(&told, now), Some(Budget { left: 0, reset: Some(std::time::Duration::from_secs(2)) }));
    assert_eq!(budget(&answer(201, &[], ""), now), None);
}

#[track_caller]
fn check_holds(provider: &str, edit: &Edit, told: &ApiAnswer, expected: Option<bool>) {
    assert_eq!(suppression_api(provider).unwrap().holds(edit, "a@x.org", told), expected, "{provider}");
}

#[test]
fn lists_are_read_back() {
    let off = |list| edit(Action::Remove, list, &[]);
    check_holds("sendgrid", &off("global"), &answer(200, &[], r#"{"recipient_email":"a@x.org"}"#), Some(true));
    check_holds("sendgrid", &off("global"), &answer(200, &[], "{}"), Some(false));
    check_holds("sendgrid", &off("global"), &answer(500, &[], "{}"), None);
    check_holds("sendgrid", &off("bounces"), &answer(200, &[], "[]"), Some(false));
    check_holds("sendgrid", &off("bounces"), &answer(200, &[], r#"[{"email":"A@x.org"}]"#), Some(true));
    check_holds("sendgrid", &off("group/7"), &answer(200, &[], r#"["a@x.org"]"#), Some(true));
    check_holds("mailgun", &off("bounces"), &answer(404, &[], ""), Some(false));
    check_holds("mailgun", &off("bounces"), &answer(200, &[], "{}"), Some(true));
    let tagged = edit(Action::Remove, "unsubscribes", &["a"]);
    check_holds("mailgun", &tagged, &answer(200, &[], r#"{"address":"a@x.org","tags":["*"]}"#), Some(false));
    check_holds("mailgun", &tagged, &answer(200, &[], r#"{"address":"a@x.org","tags":["*","a"]}"#), Some(true));
    check_holds("postmark", &off("suppressions"), &answer(200, &[], r#"{"Suppressions":[]}"#), Some(false));
    check_holds(
        "postmark",
        &off("suppressions"),
        &answer(200, &[], r#"{"Suppressions":[{"EmailAddress":"a@x.org"}]}"#),
        Some(true),
    );
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let check = |provider: &str, change: &dyn Fn(&mut ApiSettings)| {
        let mut settings = settings(provider);
        change(&mut settings);
        assert!(suppression_api(provider).unwrap().check(&settings).is_err(), "{provider}");
    };
    for provider in ["sendgrid", "mailgun", "postmark"] {
        check(provider, &|settings| settings.credential = " ".to_owned());
        check(provider, &|settings| settings.credential = "two words".to_owned());
    }
    check("mailgun", &|settings| settings.domain = None);
    check("postmark", &|settings| settings.stream = None);
    check("sendgrid", &|settings| settings.stream = Some("broadcast".to_owned()));
}

#[test]
fn no_address_gets_into_details() {
    let said = without_addresses("address jane@example.com,\n\tor jane%40example.com is  malformed");
    assert_eq!(said, "address (address) or (address) is malformed");
    assert_eq!(without_addresses(&"x".repeat(1_000)).len(), 200);
}

#[test]
fn lists_of_reasons_mixed_or_by_type() {
    for scope in ["all", "non_critical", "marketing", "all marketing"] {
        check_edits("resend", scope, "", "", false, "+suppressions");
        check_edits("mandrill", scope, "", "", false, "+rejects");
    }
    check_edits("sparkpost", "all", "", "", false, "+non_transactional +transactional");
    check_edits("sparkpost", "marketing", "", "", false, "+non_transactional");
    check_edits("sparkpost", "non_critical", "", "", false, "+non_transactional");
    check_edits("sparkpost", "marketing", "", "all", false, "-transactional +non_transactional");
    check_edits("sparkpost", "", "", "marketing", false, "-non_transactional -transactional");
    check_edits("resend", "non_critical", "non_critical", "all", false, "");
    check_edits("mandrill", "", "", "non_critical", false, "-rejects");
    for provider in ["resend", "sparkpost", "mandrill"] {
        check_edits(provider, "category:news sender:+15550001111", "", "", false, "");
        let mut settings = settings(provider);
        settings.domain = Some("mg.example.com".to_owned());
        assert!(suppression_api(provider).unwrap().check(&settings).is_err());
        (settings.domain, settings.credential) = (None, String::new());
        assert!(suppression_api(provider).unwrap().check(&settings).is_err());
    }
}

#[test]
fn requests_to_resend_sparkpost_and_mandrill() {
    let (add, remove) = (Action::Add, Action::Remove);
    let odd = "a+b/c%d@example.com";
    check_request(
        "resend",
        &edit(add, "suppressions", &[]),
        &["a@x.org", "b@x.org"],
        r#"POST https://api.resend.com/suppressions/batch/add {"emails":["a@x.org","b@x.org"]}"#,
    );
    check_request(
        "resend",
        &edit(remove, "suppressions", &[]),
        &[odd],
        "DELETE https://api.resend.com/suppressions/a%2Bb%2Fc%25d%40example.com",
    );
    check_request(
        "sparkpost",
        &edit(add, "transactional", &[]),
        &["a@x.org"],
        r#"PUT https://api.sparkpost.com/api/v1/suppression-list/ {"recipients":[{"description":"suppressed by Quell","recipient":"a@x.org","type":"transactional"}]}"#,
    );
    check_request(
        "sparkpost",
        &edit(remove, "non_transactional", &[]),
        &[odd],
        r#"DELETE https://api.sparkpost.com/api/v1/suppression-list/a%2Bb%2Fc%25d%40example.com {"type":"non_transactional"}"#,
    );
    check_request(
        "mandrill",
        &edit(add, "rejects", &[]),
        &["a@x.org"],
        r#"POST https://mandrillapp.com/api/1.0/rejects/add.json {"comment":"suppressed by Quell","email":"a@x.org","key":"key-1"}"#,
    );
    check_request(
        "mandrill",
        &edit(remove, "rejects", &[]),
        &["a@x.org"],
        r#"POST https://mandrillapp.com/api/1.0/rejects/delete.json {"email":"a@x.org","key":"key-1"}"#,
    );
}

#[test]
fn answers_of_resend_sparkpost_and_mandrill() {
    let (add, remove) = (edit(Action::Add, "transactional", &[]), edit(Action::Remove, "transactional", &[]));
    let (two, one) = (["a@x.org", "b@x.org"], ["a@x.org"]);
    check_answer("resend", &add, &two, &answer(201, &[], r#"{"data":[]}"#), "done done");
    check_answer("resend", &add, &two, &answer(422, &[], r#"{"message":"Invalid"}"#), "split");
    check_answer("resend", &remove, &one, &answer(404, &[], ""), "done");
    check_answer("resend", &add, &one, &answer(403, &[], r#"{"message":"no"}"#), "blocked status 403: no");
    let bad = r#"{"errors":[{"message":"PUT body contains 1 invalid or malformed recipient(s): a@x.org"}]}"#;
    check_answer("sparkpost", &add, &two, &answer(400, &[], bad), "split");
    check_answer(
        "sparkpost",
        &add,
        &one,
        &answer(400, &[], bad),
        "refused(status 400: PUT body contains 1 invalid or malformed recipient(s): (address))",
    );
    let kept = r#"{"errors":[{"message":"Recipient could not be removed - Compliance"}]}"#;
    check_answer(
        "sparkpost",
        &remove,
        &one,
        &answer(403, &[], kept),
        "refused(Recipient could not be removed - Compliance)",
    );
    let key = r#"{"errors":[{"message":"Forbidden."}]}"#;
    check_answer("sparkpost", &remove, &one, &answer(403, &[], key), "blocked status 403: Forbidden.");
    check_answer("mandrill", &add, &one, &answer(200, &[], r#"{"email":"a@x.org","added":true}"#), "done");
    check_answer(
        "mandrill",
        &add,
        &one,
        &answer(200, &[], r#"{"email":"a@x.org","added":false}"#),
        "refused(not added: the address stands on Mandrill's allow list)",
    );
    check_answer("mandrill", &remove, &one, &answer(200, &[], r#"{"deleted":false}"#), "done");
    let error = |name: &str| format!(r#"{{"status":"error","code":-1,"name":"{name}","message":"no"}}"#);
    check_answer("mandrill", &add, &one, &answer(500, &[], &error("Invalid_Key")), "blocked status 500: no");
    check_answer("mandrill", &add, &one, &answer(500, &[], &error("ValidationError")), "refused(status 500: no)");
    check_answer("mandrill", &add, &one, &answer(500, &[], &error("GeneralError")), "retry None unclear=true");
    check_answer("mandrill", &add, &one, &answer(502, &[], "<html>"), "retry None unclear=true");
}

#[test]
fn resend_sparkpost_and_mandrill_are_read_back() {
    let off = edit(Action::Remove, "transactional", &[]);
    check_holds("resend", &off, &answer(200, &[], r#"{"object":"suppression","id":"1"}"#), Some(true));
    check_holds("resend", &off, &answer(404, &[], ""), Some(false));
    check_holds("resend", &off, &answer(500, &[], ""), None);
    check_holds("sparkpost", &off, &answer(200, &[], r#"{"results":[{"type":"non_transactional"}]}"#), Some(false));
    check_holds("sparkpost", &off, &answer(200, &[], r#"{"results":[{"type":"transactional"}]}"#), Some(true));
    check_holds("sparkpost", &off, &answer(404, &[], ""), Some(false));
    check_holds("mandrill", &off, &answer(200, &[], "[]"), Some(false));
    check_holds("mandrill", &off, &answer(200, &[], r#"[{"email":"A@x.org","expired":false}]"#), Some(true));
    check_holds("mandrill", &off, &answer(200, &[], r#"[{"email":"a@x.org","expired":true}]"#), Some(false));
    check_holds("mandrill", &off, &answer(500, &[], "[]"), None);
}
