//! Files that could not work, and what they are told.

use super::{LARKPOST, LEAST, declare};

/// The least file with a line put in before a section, or changed.
#[track_caller]
fn check(text: &str, says: &str) {
    let error = declare(text).map(|adapter| adapter.name).unwrap_err();
    assert!(error.contains(says), "{error}\n  should say {says}");
}

fn least(from: &str, to: &str) -> String {
    let text = format!("name = \"acme\"\n{LEAST}");
    assert!(text.contains(from));
    text.replacen(from, to, 1)
}

#[test]
fn names() {
    for wrong in ["", "Acme", "a b", "9a", "-a", "a.b", "a/b", &"a".repeat(33)] {
        check(&least("\"acme\"", &format!("{wrong:?}")), "is no lower-case word");
    }
    check(&least("\"acme\"", "\"drip\""), "is a provider that is built in");
    for wrong in ["email", "manual", "quell", "default", "events"] {
        check(&least("\"acme\"", &format!("{wrong:?}")), "stands for something else");
    }
}

#[test]
fn unknown_keys_and_wrong_values() {
    check(&least("word = \"type\"", "word = \"type\"\nwrod = \"x\""), "unknown field `wrod`");
    check(&least("recipient = \"to\"", ""), "missing field `recipient`");
    check(&least("recipient = \"to\"", "recipient = \"to..x\""), "has an empty step");
    check(&least("recipient = \"to\"", "recipient = []"), "an empty list of paths");
    check(&least("recipient = \"to\"", "recipient = 7"), "a path or a list of paths");
    check(&least("recipient = \"to\"", "recipient = \"to\"\ntime_format = \"unix\""), "unknown format of times");
    check(&least("recipient = \"to\"", "recipient = \"@.email\""), "set the path event.each");
    check(&least("recipient = \"to\"", "recipient = \"to\"\neach = \"header:x\""), "it is a path in the event");
    check(&least("recipient = \"to\"", "recipient = \"to\"\nchannels = { a = \"sms\" }"), "set that path");
    check(&least("recipient = \"to\"", "recipient = \"to\"\nid = \"header:Authorization\""), "holds credentials");
    check(&format!("accepted = 204\n{}", least("to", "to")), "write 202");
    check(&format!("overload = 500\n{}", least("to", "to")), "write 503 or 429");
    check(&format!("set_up = [\"PUT\"]\n{}", least("to", "to")), "unknown variant `PUT`");
    check(&format!("kept_headers = [\"cookie\"]\n{}", least("to", "to")), "holds credentials");
    check(&format!("kept_headers = [\"a b\"]\n{}", least("to", "to")), "is no header's name");
}

#[test]
fn bodies() {
    let body = |lines: &str| format!("name = \"acme\"\n[body]\n{lines}\n{LEAST}");
    check(&body("format = \"xml\""), "unknown variant `xml`");
    check(&body("format = \"lines\"\nat = \"x\""), "it is for format = \"json\"");
    check(&body("format = \"form\"\nat = \"x\""), "it is for format = \"json\"");
    check(&body("field = \"x\""), "write format = \"form\" too");
    check(&body("at = \"header:x\""), "a path into the body");
    check(&body(&format!("format = \"form\"\nfield = \"{}\"", "x".repeat(129))), "so long a name");
    check(
        &body("format = \"form\"").replace("word = \"type\"", "word = \"type\"\neach = \"x\""),
        "a form has no lists",
    );
}

#[test]
fn proofs() {
    let with = |lines: &str| least("scheme = \"none\"", lines);
    check(&with("scheme = \"rot13\""), "unknown variant `rot13`");
    check(&with("scheme = \"none\"\nheader = \"x\""), "looks at no header");
    check(&with("scheme = \"key\""), "name the header");
    check(&with("scheme = \"key\"\nheader = \"x\"\nalgorithm = \"sha1\""), "it says how an HMAC is made");
    check(&with("scheme = \"hmac\"\nheader = \"x\""), "authentication.algorithm: missing");
    let hmac = |lines: &str| {
        with(&format!("scheme = \"hmac\"\nheader = \"x\"\nalgorithm = \"sha256\"\nencoding = \"hex\"\n{lines}"))
    };
    check(&hmac("time_header = \"t\""), "put {time} into");
    check(&hmac("content = \"{time}{body}\""), "{time} stands nowhere");
    check(&hmac("time_header = \"t\"\ntime_part = \"t\"\ncontent = \"{time}{body}\""), "not both");
    check(&hmac("tolerance = 5"), "nothing tells the time");
    check(&hmac("content = \"{header:x-id}\""), "pass for ever");
    check(&hmac("content = \"{boddy}\""), "stands for nothing");
    check(
        &with("scheme = \"key\"\nheader = \"x\"").replacen("name", "kept_headers = [\"X\"]\nname", 1),
        "holds credentials",
    );
}

#[test]
fn maps() {
    let map = |lines: &str| least("word = \"bounce\"\nkind = \"bounced_hard\"", lines);
    check(
        &LEAST.split("[[map]]").next().map(|text| format!("name = \"acme\"\n{text}")).unwrap_or_default(),
        "map: missing",
    );
    check(&map("word = \"x\"\nkind = \"bouncd\""), "unknown variant `bouncd`");
    check(&map("word = []\nkind = \"opened\""), "must be a word");
    check(&map("word = \"\"\nkind = \"opened\""), "must be a word");
    check(&map("word = \"x\"\ndetail = \"y\"\nkind = \"opened\""), "set that path");
    check(&map("word = \"x\"\nkind = \"opened\"\nscope = \"all\""), "is for unsubscribed and resubscribed");
    check(&map("word = \"x\"\nkind = \"unsubscribed\"\nscope = \"list\""), "set the path event.list");
    check(&map("word = \"x\"\nkind = \"unsubscribed\"\nscope = \"sender\""), "set the path event.sender");
    check(&map("word = \"x\"\nkind = \"unsubscribed\"\nscope = \"newsletter\""), "unknown scope");
    check(&map("word = \"x\"\nkind = \"bounced\"\nclass = \"size\""), "go together");
    check(&map("word = \"x\"\nkind = \"bounced\"\nfirm = true"), "is about a hint");
    check(&map("word = \"x\"\nkind = \"opened\"\nattribution = \"sender\"\nclass = \"size\""), "is no failure");
    check(
        &map("word = \"x\"\nkind = \"bounced_hard\"\nattribution = \"sender\"\nclass = \"policy\""),
        "the recipient's own",
    );
    check(
        &map("word = \"x\"\nkind = \"bounced_hard\"\nattribution = \"me\"\nclass = \"policy\""),
        "unknown attribution \"me\"",
    );
    check(
        &map("word = \"x\"\nkind = \"opened\"\n[[map]]\nword = [\"y\", \"x\"]\nkind = \"clicked\""),
        "map 2: it is never reached for the word \"x\"",
    );
    let twice = "\n[[map]]\nword = \"bounce\"\ndetail = \"hard\"\nkind = \"bounced_hard\"\n";
    check(&format!("{LARKPOST}{twice}"), "it is never reached for the word \"bounce\"");
}
