//! From what a provider's parser found to a canonical event: one place for recipients, identity and limits.

use crate::json::{Object, Value};
use crate::{Context, Fate, machine};
use domain::classify::cut;
use domain::event::RULES_REVISION;
use domain::{CanonicalEvent, Channel, EventId, Failure, Kind, Recipient, Scope, Timestamp};
use std::borrow::Cow;
use std::collections::BTreeMap;

const NAME_BYTES_MAX: usize = 256;
const IDENTITY_FIELDS_USUAL: usize = 12;
const KIND_BYTES_MAX: usize = 64;
const CATEGORIES_MAX: usize = 32;
const METADATA_FIELDS_MAX: usize = 32;
const METADATA_NAME_BYTES_MAX: usize = 128;
const METADATA_VALUE_BYTES_MAX: usize = 512;
const METADATA_BYTES_MAX: usize = 4_096;

/// An event in the making. What is `None` or empty was not said.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    /// How the recipient is reached; `None` lets the address tell.
    pub(crate) channel: Option<Channel>,
    /// The recipient as written.
    pub(crate) address: Option<Cow<'a, str>>,
    pub(crate) kind: Kind,
    pub(crate) provider_kind: Cow<'a, str>,
    /// The event's own time; the receipt's stands in where there is none, but never in the identity.
    pub(crate) occurred_at: Option<Timestamp>,
    pub(crate) message_id: Option<Cow<'a, str>>,
    pub(crate) campaign: Option<Cow<'a, str>>,
    pub(crate) categories: Vec<Cow<'a, str>>,
    pub(crate) failure: Option<Failure>,
    pub(crate) scope: Option<Scope>,
    pub(crate) machine: bool,
    pub(crate) echo: bool,
    pub(crate) metadata: Metadata,
    /// What else tells this event from another, stable under retries: the provider's own id where it has one.
    pub(crate) identity: Vec<Cow<'a, str>>,
}

impl<'a> Draft<'a> {
    /// An event of a kind, under the provider's own name for it.
    pub(crate) fn new(kind: Kind, provider_kind: Cow<'a, str>) -> Self {
        Self {
            channel: Some(Channel::Email),
            address: None,
            kind,
            provider_kind,
            occurred_at: None,
            message_id: None,
            campaign: None,
            categories: Vec::new(),
            failure: None,
            scope: None,
            machine: false,
            echo: false,
            metadata: Metadata::default(),
            identity: Vec::new(),
        }
    }

    /// Flags an open or click by the user agent that made it, if that is known for a machine's.
    pub(crate) fn seen_by(&mut self, agent: Option<Cow<'_, str>>) {
        if matches!(self.kind, Kind::Opened | Kind::Clicked) {
            self.machine |= agent.is_some_and(|agent| machine::is_machine(&agent));
        }
    }

    /// The canonical event, or why there is none; without a receipt, whether there is one.
    ///
    /// The identity is derived from provider, source, message id, recipient, the provider's own name for the event, its
    /// own time and what the provider's parser adds. Our own kind is left out, so that a better parser corrects an event
    /// rather than adding another; the receipt is left out, as it is another on each retry.
    pub(crate) fn finish(self, context: &Context<'_>) -> Fate {
        let Some(address) = self.address.as_deref().map(str::trim).filter(|address| !address.is_empty()) else {
            // An event nobody knows and that names nobody is about the account.
            return match self.kind {
                Kind::Unknown => Fate::Ignored("no_recipient"),
                _ => Fate::Dead("missing_recipient: the event names no address".to_owned()),
            };
        };
        let read = match self.channel {
            Some(channel) => Recipient::parse(channel, address),
            None => Recipient::guess(address),
        };
        let recipient = match read {
            Ok(recipient) => recipient,
            Err(error) => return Fate::Dead(format!("unreadable_recipient: {error}")),
        };
        let Some(receipt_id) = context.receipt_id else { return Fate::Found };
        let source = context.source;
        let time = self.occurred_at.map(|time| time.as_micros().to_string()).unwrap_or_default();
        // On the stack, where they fit.
        let mut few = [""; IDENTITY_FIELDS_USUAL];
        let mut many = Vec::new();
        let known = [
            source.provider,
            source.name.as_str(),
            self.message_id.as_deref().unwrap_or_default(),
            recipient.channel().as_str(),
            recipient.as_str(),
            self.provider_kind.as_ref(),
            time.as_str(),
        ];
        let count = known.len() + self.identity.len();
        let all = known.into_iter().chain(self.identity.iter().map(Cow::as_ref));
        let fields = match few.get_mut(..count) {
            Some(few) => {
                few.iter_mut().zip(all).for_each(|(place, field)| *place = field);
                &*few
            }
            None => {
                many.extend(all);
                many.as_slice()
            }
        };
        let event_id = EventId::derive(fields);
        let name = |text: Cow<'_, str>| cut(text.trim(), NAME_BYTES_MAX).to_owned();
        Fate::Event(Box::new(CanonicalEvent {
            event_id,
            tenant: source.tenant.clone(),
            channel: recipient.channel(),
            address: bare(address, &recipient),
            recipient,
            kind: self.kind,
            provider_kind: cut(&self.provider_kind, KIND_BYTES_MAX).to_owned(),
            occurred_at: self.occurred_at.unwrap_or(context.received_at),
            received_at: context.received_at,
            rules: RULES_REVISION,
            provider: source.provider.to_owned(),
            source: source.name.clone(),
            message_id: self.message_id.map(name),
            campaign: self.campaign.map(name),
            categories: self.categories.into_iter().take(CATEGORIES_MAX).map(name).collect(),
            failure: self.failure,
            scope: self.scope,
            machine: self.machine,
            echo: self.echo,
            metadata: self.metadata.fields,
            receipt_id: receipt_id.to_owned(),
        }))
    }
}

/// The address as written, without a display name around it.
fn bare(address: &str, recipient: &Recipient) -> String {
    let inner = match (recipient.channel(), address.rfind('<'), address.strip_suffix('>')) {
        (Channel::Email, Some(open), Some(body)) => body.get(open + 1..).unwrap_or(address).trim(),
        _ => address,
    };
    if inner.len() <= 2 * recipient.as_str().len() + 16 { inner.to_owned() } else { recipient.as_str().to_owned() }
}

/// The sender's own data, bounded in number and size: at most 32 fields and 4 KiB, names to 128 bytes, values to 512.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    fields: BTreeMap<String, String>,
    bytes: usize,
}

impl Metadata {
    /// Adds a field; beyond the bounds it is left out.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        let (name, value) = (cut(name, METADATA_NAME_BYTES_MAX), cut(value, METADATA_VALUE_BYTES_MAX));
        let bytes = name.len() + value.len();
        if name.is_empty() || self.fields.len() == METADATA_FIELDS_MAX || self.bytes + bytes > METADATA_BYTES_MAX {
            return;
        }
        self.bytes += bytes;
        self.fields.insert(name.to_owned(), value.to_owned());
    }

    /// Adds a JSON field, if it says anything.
    pub(crate) fn extend_by(&mut self, name: &str, value: Value<'_>) {
        if let Some(text) = value.shown() {
            self.add(name, &text);
        }
    }

    /// Adds every field of an object.
    pub(crate) fn extend(&mut self, object: &Object<'_>) {
        for (name, value) in object.iter() {
            self.extend_by(name, value);
        }
    }
}

/// A provider's failure, told apart from its classification: its own code and the attempt.
pub(crate) fn failure(
    evidence: &domain::classify::Evidence<'_>,
    code: Option<&str>,
    attempt: Option<u32>,
) -> (Kind, Failure) {
    let verdict = domain::classify::classify(evidence);
    let kind = verdict.bounce();
    let mut failure = verdict.into_failure(evidence.diagnostic);
    failure.provider_code = code.filter(|code| !code.is_empty()).map(|code| cut(code, KIND_BYTES_MAX).to_owned());
    failure.attempt = attempt;
    (kind, failure)
}

/// What every parser that reads JSON objects begins with.
pub(crate) fn dead(reason: impl Into<String>) -> Vec<Fate> {
    vec![Fate::Dead(reason.into())]
}

/// `<id@host>` as `id@host`: providers write both.
pub(crate) fn without_brackets(id: Cow<'_, str>) -> Cow<'_, str> {
    match id.trim().strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
        Some(inner) => Cow::Owned(inner.to_owned()),
        None => id,
    }
}
