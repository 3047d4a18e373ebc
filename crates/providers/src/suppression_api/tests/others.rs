//! SES, Brevo, Mailjet, MailerSend, Mailtrap, Unisender Go, Drip, Scaleway and Twilio.

use super::*;

#[test]
fn entries_of_the_other_providers() {
    check_edits("ses", "all", "", "", false, "+suppressed[BOUNCE]");
    check_edits("ses", "all non_critical", "", "", false, "+suppressed[BOUNCE COMPLAINT]");
    check_edits("ses", "marketing category:a", "", "", false, "");
    check_edits("ses", "", "", "all", false, "-suppressed[BOUNCE]");
    check_edits("ses", "", "", "all", true, "-suppressed[BOUNCE] -suppressed[COMPLAINT]");
    check_edits("ses", "non_critical", "", "all", false, "-suppressed[BOUNCE] +suppressed[COMPLAINT]");
    for scope in ["all", "non_critical", "marketing", "all marketing"] {
        check_edits("brevo", scope, "", "", false, "+contacts");
        check_edits("mailjet", scope, "", "", false, "+exclusion");
        check_edits("drip", scope, "", "", false, "+unsubscribed");
        check_edits("scaleway", scope, "", "", false, "+blocklist");
    }
    check_edits("brevo", "", "", "all", false, "-contacts");
    check_edits("brevo", "", "", "all", true, "-blocked_contacts -contacts");
    check_edits("brevo", "marketing", "", "all", true, "+contacts");
    check_edits(
        "mailersend",
        "all non_critical marketing",
        "",
        "",
        false,
        "+hard-bounces +spam-complaints +unsubscribes",
    );
    check_edits("mailersend", "", "", "non_critical", false, "-hard-bounces -unsubscribes");
    check_edits("mailersend", "all", "", "non_critical", true, "-spam-complaints +hard-bounces");
    check_edits("mailtrap", "all marketing", "", "", false, "+suppressions[hard bounce unsubscription]");
    check_edits(
        "mailtrap",
        "",
        "",
        "marketing",
        false,
        "-suppressions[hard bounce] -suppressions[manual import] -suppressions[unsubscription]",
    );
    check_edits("unisender-go", "all marketing", "", "", false, "+suppression[permanent_unavailable unsubscribed]");
    check_edits("unisender-go", "marketing", "marketing", "non_critical", true, "-suppression[complained]");
    for provider in ["ses", "brevo", "mailjet", "mailersend", "mailtrap", "unisender-go", "drip", "scaleway"] {
        check_edits(provider, "category:news sender:+15550001111", "", "", false, "");
    }
    check_edits("twilio", "all", "", "", false, "+MG1");
    check_edits("twilio", "sender:+15550001111", "", "", false, "++15550001111");
    check_edits("twilio", "all", "", "sender:+15550001111", false, "-+15550001111 +MG1");
}

#[test]
fn requests_of_the_other_providers_are_those_of_the_documents() {
    let (add, remove) = (Action::Add, Action::Remove);
    let odd = "a+b/c%d@example.com";
    let path = "a%2Bb%2Fc%25d%40example.com";
    let ses = "https://email.eu-west-1.amazonaws.com/v2/email/suppression/addresses";
    let put = |reason: &str| format!(r#"PUT {ses} {{"EmailAddress":"a@x.org","Reason":"{reason}"}}"#);
    check_request("ses", &edit(add, "suppressed", &["BOUNCE"]), &["a@x.org"], &put("BOUNCE"));
    check_request("ses", &edit(add, "suppressed", &["BOUNCE", "COMPLAINT"]), &["a@x.org"], &put("COMPLAINT"));
    check_request("ses", &edit(remove, "suppressed", &["BOUNCE"]), &[odd], &format!("GET {ses}/{path}"));
    check_request(
        "brevo",
        &edit(add, "contacts", &[]),
        &["a@x.org"],
        r#"POST https://api.brevo.com/v3/contacts {"email":"a@x.org","emailBlacklisted":true,"updateEnabled":true}"#,
    );
    check_request(
        "brevo",
        &edit(remove, "contacts", &[]),
        &[odd],
        &format!(
            r#"PUT https://api.brevo.com/v3/contacts/{path}?identifierType=email_id {{"emailBlacklisted":false}}"#
        ),
    );
    check_request(
        "brevo",
        &edit(remove, "blocked_contacts", &[]),
        &[odd],
        &format!("DELETE https://api.brevo.com/v3/smtp/blockedContacts/{path}"),
    );
    check_request(
        "mailjet",
        &edit(add, "exclusion", &[]),
        &[odd],
        &format!(r#"PUT https://api.mailjet.com/v3/REST/contact/{path} {{"IsExcludedFromCampaigns":true}}"#),
    );
    check_request(
        "mailersend",
        &edit(add, "unsubscribes", &[]),
        &["a@x.org", "b@x.org"],
        r#"POST https://api.mailersend.com/v1/suppressions/unsubscribes {"domain_id":"d-1","recipients":["a@x.org","b@x.org"]}"#,
    );
    check_request(
        "mailersend",
        &edit(remove, "unsubscribes", &[]),
        &["a@x.org"],
        "GET https://api.mailersend.com/v1/suppressions/unsubscribes?domain_id=d-1&limit=100&page=1",
    );
    check_request(
        "mailtrap",
        &edit(add, "suppressions", &["hard bounce", "unsubscription"]),
        &["a@x.org"],
        r#"POST https://mailtrap.io/api/suppressions {"domain_id":12345,"email":"a@x.org","sending_stream":"bulk","type":"hard bounce"}"#,
    );
    check_request(
        "mailtrap",
        &edit(remove, "suppressions", &["hard bounce"]),
        &[odd],
        &format!("GET https://mailtrap.io/api/suppressions?email={path}"),
    );
    check_request(
        "unisender-go",
        &edit(add, "suppression", &["complained"]),
        &["a@x.org"],
        r#"POST https://goapi.unisender.ru/en/transactional/api/v1/suppression/set.json {"cause":"complained","email":"a@x.org"}"#,
    );
    check_request(
        "drip",
        &edit(add, "unsubscribed", &[]),
        &["a@x.org"],
        r#"POST https://api.getdrip.com/v2/9999/unsubscribes/batches {"batches":[{"subscribers":[{"email":"a@x.org"}]}]}"#,
    );
    check_request(
        "drip",
        &edit(remove, "unsubscribed", &[]),
        &[odd],
        &format!("GET https://api.getdrip.com/v2/9999/subscribers/{path}"),
    );
    check_request(
        "scaleway",
        &edit(add, "blocklist", &[]),
        &["a@x.org"],
        r#"POST https://api.scaleway.com/transactional-email/v1alpha1/regions/fr-par/blocklists {"domain_id":"d-1","emails":["a@x.org"],"reason":"suppressed by Quell","type":"mailbox_not_found"}"#,
    );
    let twilio = suppression_api("twilio").unwrap();
    let request = twilio.request(&settings("twilio"), &edit(add, "MG1", &[]), &["+15551234567"]);
    let body = String::from_utf8(request.body.unwrap()).unwrap();
    assert_eq!(request.url, "https://accounts.twilio.com/v1/Consents/Bulk");
    assert!(
        body.starts_with("Items=%7B%22contact_id%22%3A%22%2B15551234567%22%2C%22correlation_id%22%3A%22"),
        "{body}"
    );
    assert!(body.contains("%22sender_id%22%3A%22MG1%22%2C%22source%22%3A%22others%22%2C%22status%22%3A%22opt-out%22"));
}

/// The call that follows this answer to the edit's first call, if one does.
#[track_caller]
fn check_next(provider: &str, edit: &Edit, told: &ApiAnswer, expected: Option<&str>) {
    let api = suppression_api(provider).unwrap();
    let settings = settings(provider);
    let first = api.request(&settings, edit, &["a@x.org"]);
    let next = api.next(&settings, edit, &["a@x.org"], &first, told).map(|next| {
        let body = String::from_utf8(next.body.unwrap_or_default()).unwrap();
        format!("{} {} {body}", next.method, next.url).trim_end().to_owned()
    });
    assert_eq!(next.as_deref(), expected, "{provider}");
}

#[test]
fn a_call_tells_the_next() {
    let (add, remove) = (Action::Add, Action::Remove);
    let held = |reason: &str| answer(200, &[], &format!(r#"{{"SuppressedDestination":{{"Reason":"{reason}"}}}}"#));
    let bounce = edit(remove, "suppressed", &["BOUNCE"]);
    let gone = "DELETE https://email.eu-west-1.amazonaws.com/v2/email/suppression/addresses/a%40x.org";
    check_next("ses", &bounce, &held("BOUNCE"), Some(gone));
    check_next("ses", &bounce, &held("COMPLAINT"), None);
    check_next("ses", &bounce, &answer(404, &[], ""), None);
    check_next("ses", &edit(add, "suppressed", &["BOUNCE"]), &answer(200, &[], "{}"), None);
    let made = r#"POST https://api.mailjet.com/v3/REST/contact {"Email":"a@x.org","IsExcludedFromCampaigns":true}"#;
    check_next("mailjet", &edit(add, "exclusion", &[]), &answer(404, &[], ""), Some(made));
    check_next("mailjet", &edit(add, "exclusion", &[]), &answer(200, &[], "{}"), None);
    check_next("mailjet", &edit(remove, "exclusion", &[]), &answer(404, &[], ""), None);
    let off = edit(remove, "unsubscribes", &[]);
    let page = |email: &str, next: &str| {
        let body =
            format!(r#"{{"data":[{{"id":"i-1","recipient":{{"email":"{email}"}}}}],"links":{{"next":{next}}}}}"#);
        answer(200, &[], &body)
    };
    let lists = "https://api.mailersend.com/v1/suppressions/unsubscribes";
    let found = format!(r#"DELETE {lists} {{"domain_id":"d-1","ids":["i-1"]}}"#);
    check_next("mailersend", &off, &page("A@x.org", "null"), Some(&found));
    let more = format!("GET {lists}?domain_id=d-1&limit=100&page=2");
    check_next("mailersend", &off, &page("b@x.org", r#""https://x""#), Some(&more));
    check_next("mailersend", &off, &page("b@x.org", "null"), None);
    let off = edit(remove, "suppressions", &["hard bounce"]);
    let entry = |kind: &str, domain: &str, stream: &str| {
        let body = format!(
            r#"[{{"id":"u-1","type":"{kind}","email":"a@x.org","domain_name":"{domain}","sending_stream":"{stream}"}}]"#
        );
        answer(200, &[], &body)
    };
    let gone = "DELETE https://mailtrap.io/api/suppressions/u-1";
    check_next("mailtrap", &off, &entry("hard bounce", "mg.example.com", "bulk"), Some(gone));
    check_next("mailtrap", &off, &entry("hard bounce", "mg.example.com", "any"), Some(gone));
    check_next("mailtrap", &off, &entry("spam complaint", "mg.example.com", "bulk"), None);
    check_next("mailtrap", &off, &entry("hard bounce", "example.com", "bulk"), None);
    check_next("mailtrap", &off, &entry("hard bounce", "mg.example.com", "transactional"), None);
    let status = |status: &str| answer(200, &[], &format!(r#"{{"subscribers":[{{"status":"{status}"}}]}}"#));
    let off = edit(remove, "unsubscribed", &[]);
    let back =
        r#"POST https://api.getdrip.com/v2/9999/subscribers {"subscribers":[{"email":"a@x.org","status":"active"}]}"#;
    check_next("drip", &off, &status("unsubscribed"), Some(back));
    check_next("drip", &off, &status("active"), None);
    check_next("drip", &off, &answer(404, &[], ""), None);
    let both = edit(add, "suppression", &["permanent_unavailable", "unsubscribed"]);
    let second = r#"POST https://goapi.unisender.ru/en/transactional/api/v1/suppression/set.json {"cause":"unsubscribed","email":"a@x.org"}"#;
    check_next("unisender-go", &both, &answer(200, &[], r#"{"status":"success"}"#), Some(second));
    check_next("unisender-go", &both, &answer(500, &[], ""), None);
}

#[test]
fn answers_of_the_other_providers() {
    let (add, remove) = (edit(Action::Add, "x", &["a"]), edit(Action::Remove, "x", &["a"]));
    let (two, one) = (["a@x.org", "b@x.org"], ["a@x.org"]);
    let aws = |status, name| answer(status, &[("x-amzn-errortype", name)], r#"{"message":"Rate exceeded"}"#);
    check_answer("ses", &add, &one, &answer(200, &[], "{}"), "done");
    check_answer("ses", &add, &one, &aws(400, "ThrottlingException"), "retry None unclear=false");
    check_answer("ses", &add, &one, &aws(429, "TooManyRequestsException"), "retry None unclear=false");
    check_answer("ses", &add, &one, &aws(400, "BadRequestException"), "refused(status 400: Rate exceeded)");
    check_answer("ses", &add, &one, &aws(403, "InvalidSignatureException"), "blocked status 403: Rate exceeded");
    check_answer("ses", &remove, &one, &answer(404, &[], "{}"), "done");
    check_answer("brevo", &add, &one, &answer(204, &[], ""), "done");
    let limited = answer(429, &[("x-sib-ratelimit-reset", "12")], r#"{"code":"too_many_requests","message":"slow"}"#);
    check_answer("brevo", &add, &one, &limited, "retry Some(12s) unclear=false");
    check_answer("mailjet", &add, &one, &answer(304, &[], ""), "done");
    let there = r#"{"ErrorMessage":"MJ18 A Contact resource with value a@x.org for Email already exists."}"#;
    check_answer("mailjet", &add, &one, &answer(400, &[], there), "retry None unclear=false");
    let bad = r#"{"ErrorMessage":"Invalid email address a@x.org"}"#;
    check_answer("mailjet", &add, &one, &answer(400, &[], bad), "refused(status 400: Invalid email address (address))");
    let already = r#"{"message":"The recipient is already on the list."}"#;
    check_answer("mailersend", &add, &two, &answer(422, &[], already), "split");
    check_answer("mailersend", &add, &one, &answer(422, &[], already), "done");
    check_answer("mailersend", &remove, &one, &answer(200, &[], r#"{"data":[],"links":{"next":null}}"#), "done");
    let taken = r#"{"errors":{"email":["has already been taken"]}}"#;
    check_answer("mailtrap", &add, &one, &answer(422, &[], taken), "done");
    check_answer("mailtrap", &add, &one, &answer(403, &[], r#"{"errors":"no"}"#), "blocked status 403: no");
    let code = |code: u32| answer(400, &[], &format!(r#"{{"status":"error","code":{code},"message":"no"}}"#));
    check_answer("unisender-go", &remove, &one, &code(3003), "done");
    check_answer("unisender-go", &remove, &one, &code(3004), "refused(status 400: no)");
    check_answer("unisender-go", &remove, &one, &code(906), "retry Some(3600s) unclear=false");
    check_answer("unisender-go", &add, &one, &code(204), "refused(status 400: no)");
    // Nobody's entry is meant by it: the settings are wrong.
    for provider in ["mailersend", "mailtrap", "unisender-go", "scaleway"] {
        check_answer(provider, &remove, &one, &answer(404, &[], "no"), "blocked status 404: no");
    }
    check_answer("drip", &remove, &one, &answer(404, &[], ""), "done");
    check_answer("drip", &add, &two, &answer(204, &[], ""), "done done");
    check_answer("drip", &add, &two, &answer(422, &[], "{}"), "split");
    check_answer("scaleway", &add, &two, &answer(409, &[], "{}"), "split");
    check_answer("scaleway", &add, &one, &answer(409, &[], "{}"), "done");
    let consents = |first: &str| {
        let body = format!(
            r#"{{"items":[{{"correlation_id":"{}","error_code":0,"error_messages":[]}},{{"correlation_id":"{}","error_code":30646,"error_messages":["{first}"]}}]}}"#,
            "c9d51f2b", "0"
        );
        answer(200, &[], &body)
    };
    let (to, phones) = (edit(Action::Add, "MG1", &[]), ["+15551234567"]);
    check_answer("twilio", &to, &phones, &consents("INVALID_STATUS"), "refused(left out of the answer)");
    check_answer("twilio", &to, &phones, &consents("INTERNAL_SERVER_ERROR"), "retry None unclear=true");
    let said = answer(400, &[], r#"{"message":"The number '+15551234567' is wrong, code 30646."}"#);
    check_answer("twilio", &to, &phones, &said, "refused(status 400: The number (number) is wrong, code 30646.)");
    let closed = "blocked status 404: the account has no access to the Consent Management API";
    check_answer("twilio", &to, &phones, &answer(404, &[], ""), closed);
}

#[test]
fn the_other_providers_are_read_back() {
    let off = edit(Action::Remove, "suppressed", &["BOUNCE"]);
    check_holds("ses", &off, &answer(200, &[], r#"{"SuppressedDestination":{"Reason":"BOUNCE"}}"#), Some(true));
    check_holds("ses", &off, &answer(200, &[], r#"{"SuppressedDestination":{"Reason":"COMPLAINT"}}"#), Some(false));
    check_holds("ses", &off, &answer(404, &[], ""), Some(false));
    check_holds("ses", &off, &answer(403, &[], ""), None);
    check_holds("brevo", &off, &answer(200, &[], r#"{"emailBlacklisted":true}"#), Some(true));
    check_holds("mailjet", &off, &answer(200, &[], r#"{"Data":[{"IsExcludedFromCampaigns":"true"}]}"#), Some(true));
    check_holds("mailjet", &off, &answer(200, &[], r#"{"Data":[{"IsExcludedFromCampaigns":false}]}"#), Some(false));
    check_holds("mailersend", &off, &answer(200, &[], r#"{"data":[],"links":{"next":"https://x"}}"#), None);
    check_holds("mailersend", &off, &answer(200, &[], r#"{"data":[],"links":{"next":null}}"#), Some(false));
    check_holds("drip", &off, &answer(200, &[], r#"{"subscribers":[{"status":"unsubscribed"}]}"#), Some(true));
    check_holds("scaleway", &off, &answer(200, &[], r#"{"blocklists":[]}"#), Some(false));
    let settings = settings("brevo");
    let brevo = suppression_api("brevo").unwrap();
    assert!(brevo.read_back(&settings, &edit(Action::Remove, "blocked_contacts", &[]), "a@x.org").is_none());
}

#[test]
fn a_budget_is_read_from_each_providers_headers() {
    let now = Timestamp::from_seconds(NOW).unwrap();
    for prefix in ["x-ratelimit", "x-sib-ratelimit", "ratelimit"] {
        let mut told = answer(200, &[], "");
        let name = |end: &str| http::HeaderName::try_from(format!("{prefix}-{end}")).unwrap();
        told.headers.insert(name("remaining"), "3".parse().unwrap());
        told.headers.insert(name("reset"), "7".parse().unwrap());
        let expected = Budget { left: 3, reset: Some(std::time::Duration::from_secs(7)) };
        assert_eq!(budget(&told, now), Some(expected), "{prefix}");
    }
}

#[test]
fn no_secret_is_shown_and_none_is_sent_unsigned() {
    let settings = ApiSettings { session_token: Some("token-1".to_owned()), ..settings("ses") };
    let api = suppression_api("ses").unwrap();
    let now = Timestamp::from_seconds(NOW).unwrap();
    let signed = api.sign(&settings, api.read_back(&settings, &edit(Action::Add, "x", &[]), "a@x.org").unwrap(), now);
    let shown = format!("{settings:?} {signed:?}");
    assert!(!shown.contains("key-1") && !shown.contains("token-1") && !shown.contains("a@x.org"), "{shown}");
    let header = |name: &str| signed.headers.iter().find(|(one, _)| *one == name).map(|(_, value)| value.as_str());
    assert_eq!((header("x-amz-date"), header("x-amz-security-token")), (Some("19941106T084937Z"), Some("token-1")));
    let authorization = header("authorization").unwrap();
    let begin = "AWS4-HMAC-SHA256 Credential=id-1/19941106/eu-west-1/ses/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token, ";
    assert!(authorization.starts_with(begin) && !authorization.contains("key-1"), "{authorization}");
}
