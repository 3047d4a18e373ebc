use super::*;

fn delta() -> Subject {
    subjects("").into_iter().find(|subject| subject.codec.name == "Delta").unwrap()
}

#[test]
fn every_record_has_one_subject() {
    let names: Vec<String> = subjects("").into_iter().map(|subject| subject.name).collect();
    assert_eq!(
        names,
        [
            "quell.raw.v1-value",
            "quell.events.v1-value",
            "quell.events.v1-quell.v1.PolicyApplied",
            "quell.deltas.v1-value",
            "quell.state.v1-value",
            "quell.outcomes.v1-value",
            "quell.dead-letter.v1-value",
            "quell.statistics.v1-value",
            "quell.events.v1-quell.v1.IncidentVerdict",
        ]
    );
    assert_eq!(subjects("a.")[3].name, "a.quell.deltas.v1-value");
    let topics: Vec<&str> = topics::all().into_iter().map(|topic| topic.name).collect();
    // Redeliveries are deltas, byte for byte: their ids are known by the deltas' own subject.
    for topic in topics.into_iter().filter(|topic| *topic != topics::REDELIVERIES) {
        assert!(names.contains(&format!("{topic}-value")), "{topic} has no subject");
    }
}

#[test]
fn asks_what_the_api_has() {
    let subject = Subject { name: "a/b c-value".to_owned(), codec: delta().codec };
    let ask = Ask::register(&subject);
    assert_eq!((ask.method, ask.path.as_str()), (Method::Post, "/subjects/a%2Fb%20c-value/versions"));
    let sent: Value = serde_json::from_str(&ask.body).unwrap();
    let schema: Value = serde_json::from_str(sent["schema"].as_str().unwrap()).unwrap();
    assert_eq!(schema, serde_json::from_str::<Value>(subject.codec.text).unwrap());
    assert_eq!(Ask::find(&subject).path, "/subjects/a%2Fb%20c-value");
    let path = "/compatibility/subjects/quell.deltas.v1-value/versions/latest?verbose=true";
    assert_eq!(Ask::check(&delta()).path, path);
    assert_eq!(Ask::level(None).path, "/config");
    assert_eq!(Ask::level(Some(&delta())).path, "/config/quell.deltas.v1-value");
    assert_eq!(Ask::set_level(&delta()).body, r#"{"compatibility":"BACKWARD_TRANSITIVE"}"#);
    assert_eq!((Ask::schema(7).method, Ask::schema(7).path), (Method::Get, "/schemas/ids/7".to_owned()));
}

#[test]
fn leaves_out_only_white_space_between() {
    let check = |from: &str, to: &str| assert_eq!(compact(from), to);
    check("{ \"a\" :\n\t[1, 2] }", "{\"a\":[1,2]}");
    check(r#"{"a b": "c  \" d \\" , "e": " "}"#, r#"{"a b":"c  \" d \\","e":" "}"#);
}

#[test]
fn reads_answers() {
    let ask = Ask::register(&delta());
    assert_eq!(read_id(&ask, 200, br#"{"id":17}"#), Ok(17));
    assert_eq!(read_id(&ask, 200, br#"{"subject":"s","id":17,"version":1,"schema":"{}"}"#), Ok(17));
    assert!(matches!(read_id(&ask, 200, br#"{"id":-1}"#), Err(RegistryError::Unexpected { .. })));
    assert!(matches!(read_id(&ask, 200, b"<html>"), Err(RegistryError::Unexpected { .. })));

    let ask = Ask::level(Some(&delta()));
    assert_eq!(read_level(&ask, 200, br#"{"compatibilityLevel":"FULL"}"#), Ok(Some("FULL".to_owned())));
    assert_eq!(read_level(&ask, 404, br#"{"error_code":40408,"message":"none"}"#), Ok(None));

    let ask = Ask::check(&delta());
    assert_eq!(read_compatible(&ask, 200, br#"{"is_compatible":true}"#), Ok(()));
    assert_eq!(read_compatible(&ask, 404, br#"{"error_code":40402}"#), Ok(()));
    assert!(read_compatible(&ask, 404, b"no such path").is_err());
    let refused = read_compatible(&ask, 200, br#"{"is_compatible":false,"messages":["no default","other"]}"#);
    assert!(refused.unwrap_err().to_string().contains("no default; other"));

    let ask = Ask::schema(3);
    assert_eq!(read_schema(&ask, 200, br#"{"schema":"\"string\""}"#), Ok(Ok("\"string\"".to_owned())));
    let of = |body: &[u8]| read_schema(&ask, 200, body).unwrap().unwrap_err();
    assert_eq!(of(br#"{"schemaType":"PROTOBUF","schema":"syntax"}"#), "PROTOBUF, not Avro");
    assert_eq!(of(br#"{"schema":"x","references":[{"name":"y"}]}"#), "a schema with references to others");
}

/// A wrong path and a proxy answer 404 too.
#[test]
fn only_a_registry_says_that_there_is_none() {
    let check = |body: &[u8], is_missing: bool| {
        let error = read_schema(&Ask::schema(3), 404, body).unwrap_err();
        assert_eq!(matches!(error, RegistryError::Missing { .. }), is_missing, "{error}");
        assert!(!error.is_transient() && (is_missing || error.to_string().contains("registry.url")), "{error}");
    };
    check(br#"{"error_code":40401,"message":"Subject not found"}"#, true);
    check(br#"{"error_code":40402,"message":"Version not found"}"#, true);
    check(br#"{"error_code":40403,"message":"Schema not found"}"#, true);
    check(br#"{"error_code":404,"message":"HTTP 404 Not Found"}"#, false);
    check(br#"{"message":"no such path"}"#, false);
    check(br#"{"error_code":"40403"}"#, false);
    check(b"<html>nginx</html>", false);
    check(b"", false);
}

#[test]
fn errors_say_what_to_do() {
    let check = |status: u16, is_transient: bool, says: &str| {
        let body = br#"{"error_code":1,"message":"because"}"#;
        let error = read_done(&Ask::register(&delta()), status, body).unwrap_err();
        assert_eq!(error.is_transient(), is_transient, "{status}");
        let error = error.to_string();
        assert!(error.contains(says) && error.contains("quell.deltas.v1-value"), "{status}: {error}");
    };
    check(401, false, "registry.basic_auth");
    check(403, false, "registry.basic_auth");
    check(404, false, "registry.url");
    check(409, false, "mend the schema");
    check(422, false, "because");
    check(429, true, "because");
    check(500, true, "because");
    check(503, true, "because");
    check(301, false, "registry.url");
}
