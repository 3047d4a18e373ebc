//! Declared adapters: one of each form of body.

use super::{FORM, JSON};

/// Content type of the webhooks, the file, and a body beside those of its fixtures.
pub(super) const ADAPTERS: &[(&str, &str, &str)] = &[
    (JSON, include_str!("../../../../deploy/adapters/larkpost.toml"), ""),
    (
        FORM,
        SMSBIRD,
        "id=m-1&msisdn=447700900123&status=UNDELIV&error.code=1&done=20260120143215&tag=a&tag=b&custom%5Bone%5D=x+y",
    ),
    (
        FORM,
        FORMBIRD,
        "other=1&events=%5B%7B%22event%22%3A%22click%22%2C%22email%22%3A%22a%40example.com%22%2C%22ts%22%3A1768919535%2C%22link%22%3A%22a%22%7D%5D",
    ),
    (
        JSON,
        LINEBIRD,
        "{\"kind\":\"sent\",\"to\":[{\"address\":\"a@example.com\"}]}\n{\"kind\":\"sent\",\"via\":\"text\",\"email\":\"+15551234567\"}",
    ),
    (
        JSON,
        MANYBIRD,
        r#"{"event":"failed","message":"<m-1>","failed":{"recipients":[{"email":"a@example.com","status":"5.1.1"},"b@example.com"]}}"#,
    ),
    (JSON, ROOTBIRD, r#"[{"type":"gone","data":{"to":"a@example.com"}},{"data":{"to":"b@example.com"}}]"#),
];

const SMSBIRD: &str = r#"
name = "smsbird"
[authentication]
scheme = "key"
header = "x-key"
[body]
format = "form"
[event]
word = "status"
detail = "error.code"
recipient = "msisdn"
channel = "sms"
phone_prefix = "+"
message_id = "id"
time = "done"
time_format = "%Y%m%d%H%M%S"
categories = "tag"
metadata = ["custom[one]"]
code = "error.code"
[[map]]
word = "UNDELIV"
detail = "1"
kind = "bounced_hard"
[[map]]
word = "UNDELIV"
kind = "bounced_soft"
"#;

const FORMBIRD: &str = r#"
name = "formbird"
[authentication]
scheme = "hmac"
header = "x-sig"
algorithm = "sha512"
encoding = "base64"
[body]
format = "form"
field = "events"
[event]
word = "event"
recipient = "email"
time = "ts"
time_format = "seconds"
identity = ["link", "ip"]
[[map]]
word = "click"
kind = "clicked"
"#;

const LINEBIRD: &str = r#"
name = "linebird"
[authentication]
scheme = "none"
[body]
format = "lines"
[event]
word = "kind"
recipient = ["to.0.address", "email"]
channel = "any"
channel_at = "via"
channels = { text = "sms", mail = "email" }
[[map]]
word = "sent"
kind = "accepted"
"#;

const MANYBIRD: &str = r#"
name = "manybird"
[authentication]
scheme = "none"
[event]
word = "event"
each = "failed.recipients"
recipient = ["@.email", "@", "to"]
enhanced_status = "@.status"
message_id = "message"
[[map]]
word = "failed"
kind = "bounced"
"#;

const ROOTBIRD: &str = r#"
name = "rootbird"
[authentication]
scheme = "none"
[event]
word = ["type", "header:x-event"]
recipient = "data.to"
id = "header:x-delivery"
[[map]]
word = "gone"
kind = "bounced_hard"
"#;
