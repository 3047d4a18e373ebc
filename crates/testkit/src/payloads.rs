//! What providers say in their webhooks, for the main cases.

use domain::Timestamp;
use serde_json::{Value, json};

/// What happened to a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Taken by the recipient's host.
    Delivered,
    /// No such mailbox.
    HardBounce,
    /// Mailbox full.
    SoftBounce,
    /// Called spam.
    Complaint,
    /// Left all marketing.
    Unsubscribe,
}

/// One event to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told<'a> {
    /// What happened.
    pub what: What,
    /// To whom.
    pub address: &'a str,
    /// When, in seconds since the epoch.
    pub unix: i64,
    /// Makes ids; the same event told twice has the same.
    pub number: u64,
}

const GONE: &str = "550 5.1.1 The email account that you tried to reach does not exist";
const FULL: &str = "452 4.2.2 The recipient's inbox is out of storage space";

impl Told<'_> {
    fn time(&self) -> String {
        Timestamp::from_seconds(self.unix).unwrap_or_default().to_string()
    }
}

/// One event of SendGrid's array.
pub fn sendgrid(told: &Told<'_>) -> Value {
    let mut event = json!({
        "email": told.address,
        "timestamp": told.unix,
        "sg_event_id": format!("ev{:020}", told.number),
        "sg_message_id": format!("m{:020}.filter0001", told.number),
        "category": ["campaign"],
    });
    let fields = match told.what {
        What::Delivered => json!({ "event": "delivered", "response": "250 OK" }),
        What::HardBounce => json!({ "event": "bounce", "type": "bounce", "status": "5.1.1", "reason": GONE }),
        What::SoftBounce => json!({
            "event": "bounce", "type": "bounce", "status": "4.2.2", "reason": FULL, "bounce_classification": "Mailbox Unavailable",
        }),
        What::Complaint => json!({ "event": "spamreport" }),
        What::Unsubscribe => json!({ "event": "unsubscribe" }),
    };
    merge(&mut event, fields);
    event
}

/// Postmark's one object.
pub fn postmark(told: &Told<'_>) -> Value {
    let mut event = json!({
        "MessageID": format!("00000000-0000-4000-8000-{:012}", told.number),
        "ServerID": 23, "MessageStream": "broadcast", "Tag": "campaign",
    });
    let bounce = |kind: &str, details: &str, code: i32| {
        json!({
            "RecordType": "Bounce", "ID": told.number, "Type": kind, "TypeCode": code, "Email": told.address,
            "BouncedAt": told.time(), "Details": details, "Description": "The message could not be delivered.",
            "Inactive": kind == "HardBounce",
        })
    };
    let fields = match told.what {
        What::Delivered => json!({ "RecordType": "Delivery", "Recipient": told.address, "DeliveredAt": told.time() }),
        What::HardBounce => bounce("HardBounce", GONE, 1),
        What::SoftBounce => bounce("SoftBounce", FULL, 4096),
        What::Complaint => json!({
            "RecordType": "SpamComplaint", "ID": told.number, "Type": "SpamComplaint", "Email": told.address,
            "BouncedAt": told.time(),
        }),
        What::Unsubscribe => json!({
            "RecordType": "SubscriptionChange", "Recipient": told.address, "ChangedAt": told.time(),
            "Origin": "Recipient", "SuppressSending": true, "SuppressionReason": "ManualSuppression",
        }),
    };
    merge(&mut event, fields);
    event
}

/// Mailgun's `event-data`.
pub fn mailgun(told: &Told<'_>) -> Value {
    let mut event = json!({
        "id": format!("mg{:020}", told.number),
        "timestamp": told.unix,
        "recipient": told.address,
        "message": { "headers": { "message-id": format!("{}@mg.example.com", told.number) } },
        "tags": ["campaign"],
    });
    let fields = match told.what {
        What::Delivered => json!({ "event": "delivered", "delivery-status": { "code": 250, "message": "OK" } }),
        What::HardBounce => json!({
            "event": "failed", "severity": "permanent", "reason": "bounce",
            "delivery-status": { "code": 550, "enhanced-code": "5.1.1", "message": GONE, "attempt-no": 1 },
        }),
        What::SoftBounce => json!({
            "event": "failed", "severity": "permanent", "reason": "bounce",
            "delivery-status": { "code": 452, "enhanced-code": "4.2.2", "message": FULL, "attempt-no": 7 },
        }),
        What::Complaint => json!({ "event": "complained" }),
        What::Unsubscribe => json!({ "event": "unsubscribed" }),
    };
    merge(&mut event, fields);
    event
}

/// Drip's one object.
pub fn drip(told: &Told<'_>) -> Value {
    let bounce =
        |kind: &str, reason: &str| json!({ "email": told.address, "bounce_type": kind, "bounce_reason": reason });
    let (event, mut data) = match told.what {
        What::Delivered => ("subscriber.received_email", json!({})),
        What::HardBounce => ("subscriber.bounced", bounce("hard", GONE)),
        What::SoftBounce => ("subscriber.bounced", bounce("soft", FULL)),
        What::Complaint => ("subscriber.complained", json!({})),
        What::Unsubscribe => ("subscriber.unsubscribed_all", json!({})),
    };
    let rest = json!({
        "account_id": "9999999",
        "subscriber": { "id": format!("s{}", told.number), "email": told.address, "tags": ["campaign"] },
        "properties": { "delivery_id": format!("d{}", told.number) },
    });
    merge(&mut data, rest);
    json!({ "event": event, "occurred_at": told.time(), "data": data })
}

/// One event of the generic format.
pub fn generic(told: &Told<'_>) -> Value {
    let mut event = json!({
        "id": format!("g{}", told.number), "recipient": told.address, "occurred_at": told.time(),
        "message_id": format!("gm{}", told.number), "categories": ["campaign"],
    });
    let fields = match told.what {
        What::Delivered => json!({ "kind": "delivered" }),
        What::HardBounce => json!({ "kind": "bounced_hard", "failure": { "permanent": true, "diagnostic": GONE } }),
        What::SoftBounce => json!({ "kind": "bounced_soft", "failure": { "permanent": false, "diagnostic": FULL } }),
        What::Complaint => json!({ "kind": "complaint" }),
        What::Unsubscribe => json!({ "kind": "unsubscribed" }),
    };
    merge(&mut event, fields);
    event
}

/// Parameters of Twilio's status callback for a message that failed with this error code.
pub fn twilio_failed(to: &str, number: u64, code: &str) -> Vec<(String, String)> {
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![
        own("MessageSid", &format!("SM{number:032x}")),
        own("MessageStatus", "undelivered"),
        own("ErrorCode", code),
        own("To", to),
        own("From", "+15550006789"),
        own("AccountSid", &format!("AC{:032x}", 1)),
    ]
}

fn merge(into: &mut Value, fields: Value) {
    if let (Value::Object(into), Value::Object(fields)) = (into, fields) {
        into.extend(fields);
    }
}
