//! The canonical event: what any provider said about one recipient, in one vocabulary.

use crate::{Channel, EventId, Recipient, RecipientKey, Scope, Tenant, Timestamp, words::words};
use serde::Serialize;
use std::collections::BTreeMap;

words!(
    /// What happened.
    Kind, "kind", {
        /// The provider took the message to send it.
        Accepted = "accepted",
        /// The recipient's host took it.
        Delivered = "delivered",
        /// The host put it off; the provider goes on trying.
        Deferred = "deferred",
        /// Failed for good.
        BouncedHard = "bounced_hard",
        /// Failed for now, or nobody knows.
        BouncedSoft = "bounced_soft",
        /// The provider refused to send.
        Rejected = "rejected",
        /// The recipient called it spam.
        Complaint = "complaint",
        /// The recipient left.
        Unsubscribed = "unsubscribed",
        /// The recipient came back.
        Resubscribed = "resubscribed",
        /// Opened, by a human or a machine (see `machine`).
        Opened = "opened",
        /// Clicked, by a human or a machine.
        Clicked = "clicked",
        /// A kind nobody here knows; kept and counted.
        Unknown = "unknown",
        /// From inside: suppressed by hand.
        SuppressedManually = "suppressed_manually",
        /// From inside: released by hand.
        ReleasedManually = "released_manually",
        /// From inside: sent to, but neither opened nor clicked for long.
        Unengaged = "unengaged",
        /// From inside: the end of a suppression has passed.
        Expired = "expired",
        /// From inside: another policy holds for this recipient from here on.
        Reconsidered = "reconsidered",
        /// From inside: what was known before is to be forgotten.
        Erased = "erased",
    }
);

words!(
    /// Whose failure it was. Only a recipient's own failure may suppress.
    Attribution, "attribution", {
        Recipient = "recipient", Domain = "domain", Message = "message", Sender = "sender", Provider = "provider",
    }
);

words!(
    /// What kind of failure it was.
    FailureClass, "failure class", {
        UnknownRecipient = "unknown_recipient", Disabled = "disabled", MailboxFull = "mailbox_full",
        BadDomain = "bad_domain", Dns = "dns", Timeout = "timeout", Policy = "policy", Reputation = "reputation",
        Content = "content", Size = "size", Relay = "relay", Protocol = "protocol", Rate = "rate",
        SuppressedByProvider = "suppressed_by_provider", Undetermined = "undetermined",
        InvalidNumber = "invalid_number", Unreachable = "unreachable", Landline = "landline", Carrier = "carrier",
    }
);

words!(
    /// Where a message stands, as support asks for it.
    MessageState, "message state", {
        Sent = "SENT", Deferred = "DEFERRED", Delivered = "DELIVERED", BouncedSoft = "BOUNCED_SOFT",
        BouncedHard = "BOUNCED_HARD", Complaint = "COMPLAINT", Unsubscribed = "UNSUBSCRIBED", Rejected = "REJECTED",
    }
);

impl MessageState {
    /// The state that an event of this kind gives, if it gives one.
    pub const fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Accepted => Some(Self::Sent),
            Kind::Deferred => Some(Self::Deferred),
            Kind::Delivered => Some(Self::Delivered),
            Kind::BouncedSoft => Some(Self::BouncedSoft),
            Kind::BouncedHard => Some(Self::BouncedHard),
            Kind::Complaint => Some(Self::Complaint),
            Kind::Unsubscribed => Some(Self::Unsubscribed),
            Kind::Rejected => Some(Self::Rejected),
            Kind::Resubscribed
            | Kind::Opened
            | Kind::Clicked
            | Kind::Unknown
            | Kind::SuppressedManually
            | Kind::ReleasedManually
            | Kind::Unengaged
            | Kind::Expired
            | Kind::Reconsidered
            | Kind::Erased => None,
        }
    }

    /// Whether a later notice does not undo it.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::BouncedHard | Self::Complaint)
    }
}

/// Why delivery failed, as far as can be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Whose failure.
    pub attribution: Attribution,
    /// What kind.
    pub class: FailureClass,
    /// The basic SMTP reply code (RFC 5321 4.2), 400 to 599.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp_code: Option<u16>,
    /// The enhanced status (RFC 3463), e.g. `5.1.1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enhanced_status: Option<String>,
    /// The provider's own code or type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_code: Option<String>,
    /// Which attempt failed, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The reply as worded, cut to 1,024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnostic: Option<String>,
    /// The id of the rule that classified it.
    pub rule: String,
}

/// One thing that happened to one recipient.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CanonicalEvent {
    /// Derived from content; the same on every retry of the provider.
    pub event_id: EventId,
    /// Whose recipient.
    pub tenant: Tenant,
    /// The normalised recipient.
    pub recipient: Recipient,
    /// How the recipient is reached.
    pub channel: Channel,
    /// The address as the provider wrote it.
    pub address: String,
    /// What happened.
    pub kind: Kind,
    /// The provider's own word for it.
    pub provider_kind: String,
    /// The provider's time, unclamped; the receipt's where the provider gives none.
    pub occurred_at: Timestamp,
    /// When the gateway took the webhook.
    pub received_at: Timestamp,
    /// Revision of the parsing and classification rules.
    pub rules: u32,
    /// Which provider.
    pub provider: String,
    /// Which configured source of it.
    pub source: String,
    /// The provider's id of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Campaign, broadcast or mailing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// Categories or tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// Why delivery failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What an opt-out, its return or a manual act reaches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Opened or clicked by a machine.
    pub machine: bool,
    /// An echo of our own push to the provider.
    pub echo: bool,
    /// The sender's own data, as text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The receipt of the raw webhook; of an inner event, what asked for it.
    pub receipt_id: String,
}

impl CanonicalEvent {
    /// The key by which events are ordered and owned.
    pub fn key(&self) -> RecipientKey {
        RecipientKey { tenant: self.tenant.clone(), recipient: self.recipient.clone() }
    }
}

/// Revision of the parsing and classification rules in this build. Raised whenever a parser or classifier gives another
/// answer for an input it already understood, so that a second run corrects the first.
pub const RULES_REVISION: u32 = 2;
