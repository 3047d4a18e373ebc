//! What a row of a kept list of suppressions says, and what becomes of it. Pure.

use super::super::moment;
use domain::{Channel, Recipient, Scope, Timestamp};
use serde_json::{Map, Value, json};

const RECIPIENT: [&str; 6] = ["recipient", "email", "email_address", "phone", "phone_number", "address"];
const REASON: [&str; 3] = ["reason", "event_type", "type"];
const SOURCE: [&str; 2] = ["source", "provider"];
/// The first that is there and not empty counts.
const TIME: [&str; 6] = ["event_timestamp", "occurred_at", "since", "created_at", "timestamp", "inserted_at"];
const DETAIL: [&str; 4] = ["bounce_reason", "diagnostic", "note", "notes"];
/// How long a soft bounce suppresses by hand, as the default policy has its first window.
const SOFT_SECONDS: i64 = 7 * 86_400;

/// Where the columns are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    names: Vec<String>,
}

/// What becomes of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Planned {
    /// An event of the generic format, with its own time and kind.
    Event(Value),
    /// An act by hand.
    Act(Act),
    /// Over already.
    Ended,
}

/// An act by hand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Act {
    pub(super) scope: String,
    pub(super) note: String,
    pub(super) until: Option<Timestamp>,
    pub(super) channel: Channel,
    pub(super) recipient: String,
}

/// The words of kept lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Hard,
    Soft,
    Bounce,
    Complaint,
    Unsubscribe,
    InvalidNumber,
    CarrierRejection,
    SmsFailure,
    Unengaged,
    Manual,
}

fn word(text: &str) -> Option<Word> {
    let text = text.trim().to_lowercase().replace(['-', ' '], "_");
    Some(match text.as_str() {
        "hard_bounce" | "hard" | "bounced_hard" | "permanent" => Word::Hard,
        "soft_bounce" | "soft" | "bounced_soft" | "temporary" | "transient" => Word::Soft,
        "bounce" | "bounced" | "unknown_bounce" => Word::Bounce,
        "spam_complaint" | "complaint" | "spam" | "spam_report" | "spamreport" | "complained" => Word::Complaint,
        "unsubscribe" | "unsubscribed" | "opt_out" | "optout" => Word::Unsubscribe,
        "invalid_number" => Word::InvalidNumber,
        "carrier_rejection" => Word::CarrierRejection,
        "sms_failure" => Word::SmsFailure,
        "unengaged" => Word::Unengaged,
        "manual" => Word::Manual,
        _ => return None,
    })
}

/// A row, read.
#[derive(Debug)]
struct Row<'a> {
    address: &'a str,
    recipient: Recipient,
    word: Word,
    said: &'a str,
    source: Option<&'a str>,
    at: Option<Timestamp>,
    detail: Option<&'a str>,
    scope: Option<Scope>,
}

impl Columns {
    /// Reads the header.
    pub(super) fn of(header: &csv::StringRecord, has_reason: bool) -> Result<Self, String> {
        let names: Vec<String> =
            header.iter().map(|name| name.trim_start_matches('\u{feff}').trim().to_lowercase()).collect();
        let any = |wanted: &[&str]| names.iter().any(|name| wanted.contains(&name.as_str()));
        if !any(&RECIPIENT) {
            return Err(format!("no column holds recipients: name one {}", RECIPIENT.join(", ")));
        }
        if !has_reason && !any(&REASON) && !any(&["bounce_type"]) {
            return Err(
                "no column holds reasons: name one reason or event_type, or say --reason for every row".to_owned()
            );
        }
        Ok(Self { names })
    }

    /// The first of these columns that is not empty in a row.
    fn text<'a>(&self, row: &'a csv::StringRecord, wanted: &[&str]) -> Option<&'a str> {
        wanted.iter().find_map(|name| {
            let at = self.names.iter().position(|known| known == name)?;
            // Databases write NULL into their exports.
            row.get(at)
                .map(str::trim)
                .filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case("null") && *text != "\\N")
        })
    }

    fn read<'a>(&self, row: &'a csv::StringRecord, default_reason: Option<&'a str>) -> Result<Row<'a>, String> {
        let source = self.text(row, &SOURCE);
        let bounce_type = self.text(row, &["bounce_type"]);
        let said =
            self.text(row, &REASON).or(bounce_type).or(default_reason).or(source.filter(|text| *text == "manual"));
        let said = said.ok_or("no reason")?;
        let word =
            match (word(said).ok_or_else(|| format!("reason {said:?} is not known here"))?, bounce_type.and_then(word))
            {
                (Word::Bounce, Some(told @ (Word::Hard | Word::Soft | Word::Complaint))) => told,
                (word, _) => word,
            };
        let is_sms = matches!(word, Word::InvalidNumber | Word::CarrierRejection | Word::SmsFailure);
        let (address, channel) = self.address(row, is_sms)?;
        let recipient = match channel {
            Some(channel) => Recipient::parse(channel, address),
            None => Recipient::guess(address),
        };
        let recipient = recipient.map_err(|error| error.to_string())?;
        let at = self.text(row, &TIME).map(moment::point).transpose().map_err(|error| format!("time: {error}"))?;
        let scope =
            self.text(row, &["scope"]).map(str::parse).transpose().map_err(|error| format!("scope: {error}"))?;
        Ok(Row { address, recipient, word, said, source, at, detail: self.text(row, &DETAIL), scope })
    }

    /// A row's address: where it has an email address and a number, a reason of texting means the number.
    fn address<'a>(&self, row: &'a csv::StringRecord, is_sms: bool) -> Result<(&'a str, Option<Channel>), String> {
        let channel = self.text(row, &["channel"]).map(str::parse).transpose();
        let channel: Option<Channel> = channel.map_err(|error| format!("channel: {error}"))?;
        let any = |names: &[&str], channel: Option<Channel>| self.text(row, names).map(|address| (address, channel));
        let plain = || any(&["recipient", "address"], channel);
        let email = || any(&["email", "email_address"], channel.or(Some(Channel::Email)));
        let phone = || any(&["phone", "phone_number"], channel.or(Some(Channel::Sms)));
        let found = if is_sms { plain().or_else(phone).or_else(email) } else { plain().or_else(email).or_else(phone) };
        found.ok_or_else(|| "no recipient".to_owned())
    }

    /// What becomes of a row; an error says why nothing can.
    pub(super) fn plan(
        &self,
        row: &csv::StringRecord,
        default_reason: Option<&str>,
        by_hand: bool,
        now: Timestamp,
    ) -> Result<Planned, String> {
        let row = self.read(row, default_reason)?;
        match row.word {
            // What only comes from inside is done by hand.
            Word::Unengaged | Word::Manual => Ok(row.act(now)),
            _ if by_hand => Ok(row.act(now)),
            _ => Ok(Planned::Event(row.event())),
        }
    }
}

impl Row<'_> {
    /// As an event of the generic format. Without a time, an id makes sure that a second import changes nothing.
    fn event(&self) -> Value {
        let (kind, permanent) = match self.word {
            Word::Hard | Word::InvalidNumber | Word::CarrierRejection => ("bounced_hard", Some(true)),
            Word::Soft | Word::SmsFailure => ("bounced_soft", Some(false)),
            Word::Complaint => ("complaint", None),
            Word::Unsubscribe => ("unsubscribed", None),
            Word::Bounce | Word::Unengaged | Word::Manual => ("bounced", None),
        };
        let mut event = Map::new();
        let mut set = |name: &str, value: Value| drop(event.insert(name.to_owned(), value));
        set("kind", kind.into());
        set("channel", self.recipient.channel().as_str().into());
        set("recipient", self.address.into());
        match self.at {
            Some(at) => set("occurred_at", at.to_string().into()),
            None => set("id", format!("import:{}", self.said).into()),
        }
        if kind.starts_with("bounced") {
            let mut failure = Map::new();
            if let Some(permanent) = permanent {
                failure.insert("permanent".to_owned(), permanent.into());
            }
            if let Some(detail) = self.detail {
                failure.insert("diagnostic".to_owned(), detail.into());
            }
            set("failure", failure.into());
        }
        if let (Word::Unsubscribe, Some(scope)) = (self.word, &self.scope) {
            set("scope", scope.to_string().into());
        }
        let mut metadata = json!({ "imported_reason": self.said });
        if let Some(source) = self.source {
            metadata["imported_source"] = source.into();
        }
        set("metadata", metadata);
        event.into()
    }

    /// As an act by hand: what reason and time said survives in the note.
    fn act(&self, now: Timestamp) -> Planned {
        let scope = match (&self.scope, self.word) {
            (Some(scope), _) => scope.clone(),
            (None, Word::Complaint) => Scope::NonCritical,
            (None, Word::Unsubscribe | Word::Unengaged) => Scope::Marketing,
            (None, _) => Scope::All,
        };
        let is_soft = matches!(self.word, Word::Soft | Word::SmsFailure | Word::Bounce);
        let until = is_soft.then(|| self.at.unwrap_or(now).plus_seconds(SOFT_SECONDS));
        if until.is_some_and(|until| until <= now) {
            return Planned::Ended;
        }
        let mut note = format!("imported: {}", self.said);
        if let Some(source) = self.source {
            note = format!("{note} from {source}");
        }
        if let Some(at) = self.at {
            note = format!("{note} at {at}");
        }
        if let Some(detail) = self.detail {
            note = format!("{note}: {detail}");
        }
        Planned::Act(Act {
            scope: scope.to_string(),
            note: note.chars().take(1_000).collect(),
            until,
            channel: self.recipient.channel(),
            recipient: self.address.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(header: &[&str], row: &[&str], by_hand: bool) -> Result<Planned, String> {
        let columns = Columns::of(&csv::StringRecord::from(header.to_vec()), false)?;
        let now = Timestamp::parse_rfc3339("2026-01-21T00:00:00Z").unwrap();
        columns.plan(&csv::StringRecord::from(row.to_vec()), None, by_hand, now)
    }

    #[track_caller]
    fn check_event(header: &[&str], row: &[&str], expected: Value) {
        assert_eq!(plan(header, row, false), Ok(Planned::Event(expected)));
    }

    const TABLE: [&str; 6] = ["id", "email", "phone", "reason", "source", "created_at"];

    #[test]
    fn rows_become_events_with_their_reason_and_time() {
        check_event(
            &TABLE,
            &["1", "Bounced@example.com", "NULL", "hard_bounce", "drip", "2026-01-20 14:32:15"],
            json!({"kind": "bounced_hard", "channel": "email", "recipient": "Bounced@example.com",
                "occurred_at": "2026-01-20T14:32:15Z", "failure": {"permanent": true},
                "metadata": {"imported_reason": "hard_bounce", "imported_source": "drip"}}),
        );
        check_event(
            &TABLE,
            &["2", "", "+1-555-123-4567", "invalid_number", "twilio", "2026-01-20"],
            json!({"kind": "bounced_hard", "channel": "sms", "recipient": "+1-555-123-4567",
                "occurred_at": "2026-01-20T00:00:00Z", "failure": {"permanent": true},
                "metadata": {"imported_reason": "invalid_number", "imported_source": "twilio"}}),
        );
        let list = ["\u{feff}email_address", "event_type", "event_timestamp"];
        check_event(
            &list,
            &["a@example.com", "unsubscribe", "2023-03-15T12:00:00Z"],
            json!({"kind": "unsubscribed", "channel": "email", "recipient": "a@example.com",
                "occurred_at": "2023-03-15T12:00:00Z", "metadata": {"imported_reason": "unsubscribe"}}),
        );
        check_event(
            &list,
            &["a@example.com", "bounce", ""],
            json!({"kind": "bounced", "channel": "email", "recipient": "a@example.com", "id": "import:bounce",
                "failure": {}, "metadata": {"imported_reason": "bounce"}}),
        );
        let typed = ["email", "reason", "bounce_type", "bounce_reason"];
        check_event(
            &typed,
            &["a@example.com", "bounce", "soft", "mailbox full"],
            json!({"kind": "bounced_soft", "channel": "email", "recipient": "a@example.com", "id": "import:bounce",
                "failure": {"permanent": false, "diagnostic": "mailbox full"}, "metadata": {"imported_reason": "bounce"}}),
        );
        // What `quell export` writes.
        let export = ["recipient", "channel", "scope", "reason", "since", "until", "rule", "provider"];
        check_event(
            &export,
            &[
                "a@example.com",
                "email",
                "category:news",
                "unsubscribe",
                "2026-01-20T14:32:15Z",
                "",
                "unsubscribe",
                "sendgrid",
            ],
            json!({"kind": "unsubscribed", "channel": "email", "recipient": "a@example.com", "scope": "category:news",
                "occurred_at": "2026-01-20T14:32:15Z",
                "metadata": {"imported_reason": "unsubscribe", "imported_source": "sendgrid"}}),
        );
    }

    #[track_caller]
    fn check_act(row: &[&str], scope: &str, until: Option<&str>, note: &str) {
        match plan(&TABLE, row, true).unwrap() {
            Planned::Act(act) => {
                let found = (act.scope.as_str(), act.until.map(|until| until.to_string()), act.note.as_str());
                assert_eq!(found, (scope, until.map(str::to_owned), note));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_become_acts_by_hand() {
        let row = |reason, at| ["1", "a@example.com", "", reason, "drip", at];
        check_act(
            &row("hard_bounce", "2020-01-01"),
            "all",
            None,
            "imported: hard_bounce from drip at 2020-01-01T00:00:00Z",
        );
        check_act(&row("complaint", ""), "non_critical", None, "imported: complaint from drip");
        check_act(&row("unengaged", ""), "marketing", None, "imported: unengaged from drip");
        let end = Some("2026-01-27T00:00:00Z");
        check_act(
            &row("soft_bounce", "2026-01-20"),
            "all",
            end,
            "imported: soft_bounce from drip at 2026-01-20T00:00:00Z",
        );
        assert_eq!(plan(&TABLE, &row("soft_bounce", "2026-01-01"), true), Ok(Planned::Ended));
        // These have no event from outside.
        assert!(matches!(plan(&TABLE, &row("manual", ""), false), Ok(Planned::Act(_))));
        assert!(matches!(plan(&TABLE, &row("unengaged", ""), false), Ok(Planned::Act(_))));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for (row, part) in [
            (["1", "", "", "hard_bounce", "", ""], "no recipient"),
            (["1", "nobody", "", "hard_bounce", "", ""], "not an email address"),
            (["1", "a@example.com", "", "", "", ""], "no reason"),
            (["1", "a@example.com", "", "rude", "", ""], "\"rude\""),
            (["1", "a@example.com", "", "hard_bounce", "", "soon"], "time:"),
        ] {
            let error = plan(&TABLE, &row, false).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(plan(&["name", "reason"], &["a", "b"], false).unwrap_err().contains("no column holds recipients"));
        assert!(plan(&["email"], &["a@example.com"], false).unwrap_err().contains("--reason"));
    }
}
