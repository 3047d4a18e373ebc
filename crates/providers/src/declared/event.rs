//! One event: from the values at its paths to canonical events.

use super::file::EventSpec;
use super::mapping::{Mapping, Meaning, Outcome, RULE, Reach};
use super::path::{Layout, Place, Root, Tree, list};
use super::time::TimeFormat;
use super::values::{Fields, Given, Spot, Spots, Surveyor};
use super::{AdapterError, wrong};
use crate::draft::{self, Draft};
use crate::form::Form;
use crate::json::{Object, Value};
use crate::{Context, Element, Fate, Parsed, Request};
use domain::classify::{Evidence, Word};
use domain::{Attribution, Channel, Failure, FailureClass, Kind, Scope};
use ring::digest;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Recipients of one event. Each becomes an event with all that they share: without a bound a small body would fill the log.
const RECIPIENTS_MAX: usize = 50;
const CHANNELS_MAX: usize = 64;
const PREFIX_BYTES_MAX: usize = 8;

/// What stands where.
#[derive(Debug)]
pub(super) struct Event {
    is_form: bool,
    element: Layout,
    item: Layout,
    each: Option<Place>,
    word: Spots,
    detail: Spots,
    recipient: Spots,
    channel: Option<Channel>,
    channel_at: Spots,
    channels: BTreeMap<String, Channel>,
    phone_prefix: Option<String>,
    id: Spots,
    identity: Spots,
    time: Spots,
    time_format: TimeFormat,
    message_id: Spots,
    campaign: Spots,
    categories: Spots,
    metadata: Vec<(String, Spot)>,
    reason: Spots,
    code: Spots,
    smtp_code: Spots,
    enhanced_status: Spots,
    attempt: Spots,
    machine: Spots,
    user_agent: Spots,
    list: Spots,
    sender: Spots,
    mapping: Mapping,
}

impl Event {
    /// Checks the paths, and returns the headers that they read too.
    pub(super) fn new(
        spec: EventSpec,
        is_form: bool,
        mapping: Mapping,
    ) -> Result<(Self, BTreeSet<String>), AdapterError> {
        if spec.channels.len() > CHANNELS_MAX || (!spec.channels.is_empty() && spec.channel_at.is_none()) {
            return wrong(
                "event.channels",
                "it translates what stands at event.channel_at: set that path, and at most 64 words",
            );
        }
        if spec.phone_prefix.as_ref().is_some_and(|prefix| prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX) {
            return wrong("event.phone_prefix", "write what stands before an international number, such as \"+\"");
        }
        let each = match spec.each {
            Some(_) if is_form => return wrong("event.each", "a form has no lists: leave it out"),
            Some(path) if path.root != Root::Element => {
                return wrong("event.each", "it is a path in the event, such as bounce.recipients");
            }
            each => each,
        };
        let has_each = each.is_some();
        let mut at = Surveyor {
            is_form,
            has_each,
            element: Layout::default(),
            item: Layout::default(),
            headers: BTreeSet::new(),
        };
        let each = each.map(|path| at.element.place(&path.steps));
        let event = Self {
            is_form,
            each,
            word: at.spots("word", Some(spec.word))?,
            detail: at.spots("detail", spec.detail)?,
            recipient: at.spots("recipient", Some(spec.recipient))?,
            channel: spec.channel.channel(),
            channel_at: at.spots("channel_at", spec.channel_at)?,
            channels: spec.channels,
            phone_prefix: spec.phone_prefix,
            id: at.spots("id", spec.id)?,
            identity: at.spots("identity", spec.identity)?,
            time: at.spots("time", spec.time)?,
            time_format: spec.time_format,
            message_id: at.spots("message_id", spec.message_id)?,
            campaign: at.spots("campaign", spec.campaign)?,
            categories: at.spots("categories", spec.categories)?,
            metadata: at.named(spec.metadata)?,
            reason: at.spots("reason", spec.reason)?,
            code: at.spots("code", spec.code)?,
            smtp_code: at.spots("smtp_code", spec.smtp_code)?,
            enhanced_status: at.spots("enhanced_status", spec.enhanced_status)?,
            attempt: at.spots("attempt", spec.attempt)?,
            machine: at.spots("machine", spec.machine)?,
            user_agent: at.spots("user_agent", spec.user_agent)?,
            list: at.spots("list", spec.list)?,
            sender: at.spots("sender", spec.sender)?,
            mapping,
            element: Layout::default(),
            item: Layout::default(),
        };
        Ok((Self { element: at.element, item: at.item, ..event }, at.headers))
    }

    /// What an element says. Its bytes are decoded already.
    pub(super) fn parse(&self, request: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed {
        if self.is_form {
            return match Form::read(&Request { body: element.bytes, ..*request }) {
                Ok(form) => vec![self.read(&Given { request, fields: Fields::Form(&form) }, element, None, context)],
                Err(malformed) => draft::dead(malformed.reason),
            };
        }
        let tree = match Object::read(element) {
            Ok(object) => Tree::of_object(&self.element, object),
            Err(reason) => return draft::dead(reason),
        };
        let items = self.each.as_ref().and_then(|place| tree.at(place)).map(list).unwrap_or_default();
        if items.len() > RECIPIENTS_MAX {
            return draft::dead(format!("too_many_recipients: an event names at most {RECIPIENTS_MAX}"));
        }
        if items.is_empty() {
            let given = Given { request, fields: Fields::Json { element: &tree, item: None } };
            return vec![self.read(&given, element, None, context)];
        }
        let mut fates = Vec::with_capacity(items.len());
        for value in items {
            let item = Tree::of_value(&self.item, value);
            let given = Given { request, fields: Fields::Json { element: &tree, item: Some(&item) } };
            fates.push(self.read(&given, element, Some(value), context));
        }
        fates
    }

    fn read(
        &self,
        given: &Given<'_, '_>,
        element: &Element<'_>,
        item: Option<Value<'_>>,
        context: &Context<'_>,
    ) -> Fate {
        let Some(word) = given.text(&self.word) else {
            return Fate::Dead("missing_word: nothing stands where the adapter reads what happened".to_owned());
        };
        let detail = given.text(&self.detail);
        let meaning = self.mapping.find(word.trim(), detail.as_deref().map(str::trim));
        if meaning.is_some_and(|meaning| meaning.outcome == Outcome::Ignored) {
            return Fate::Ignored("ignored_by_adapter");
        }
        let mut draft = Draft::new(Kind::Unknown, word.clone());
        draft.channel = self.channel_of(given);
        if let Some(meaning) = meaning {
            (draft.kind, draft.failure) = self.failure(meaning, given, detail.as_deref(), draft.channel);
            draft.scope = match self.scope(meaning, given, draft.kind) {
                Ok(scope) => scope,
                Err(reason) => return Fate::Dead(reason.to_owned()),
            };
            (draft.machine, draft.echo) = (meaning.machine, meaning.echo);
        }
        draft.machine |= given.text(&self.machine).is_some_and(|text| matches!(text.as_ref(), "true" | "1" | "yes"));
        draft.seen_by(given.text(&self.user_agent));
        draft.address = self.address(given, draft.channel);
        draft.occurred_at = given.text(&self.time).and_then(|text| self.time_format.read(&text));
        draft.message_id = given.text(&self.message_id).map(draft::without_brackets);
        draft.campaign = given.text(&self.campaign);
        draft.categories = given.texts(&self.categories);
        for (name, spot) in &self.metadata {
            given.add(&mut draft.metadata, name, spot);
        }
        draft.identity = self.identity(given, element, item);
        draft.finish(context)
    }

    fn channel_of(&self, given: &Given<'_, '_>) -> Option<Channel> {
        let word = given.text(&self.channel_at);
        let told = word.and_then(|word| self.channels.get(word.trim()).copied().or_else(|| word.trim().parse().ok()));
        told.or(self.channel)
    }

    fn address<'g>(&self, given: &'g Given<'_, '_>, channel: Option<Channel>) -> Option<Cow<'g, str>> {
        let address = given.text(&self.recipient)?;
        let bare = address.trim();
        let is_number = channel == Some(Channel::Sms) && bare.starts_with(|first: char| first.is_ascii_digit());
        match &self.phone_prefix {
            Some(prefix) if is_number && !bare.starts_with("00") => Some(Cow::Owned(format!("{prefix}{bare}"))),
            _ => Some(address),
        }
    }

    fn failure(
        &self,
        meaning: &Meaning,
        given: &Given<'_, '_>,
        detail: Option<&str>,
        channel: Option<Channel>,
    ) -> (Kind, Option<Failure>) {
        let weak = |attribution, class| Some(Word::Weak(attribution, class, RULE));
        let (permanent, usual) = match meaning.outcome {
            Outcome::Plain(kind) => return (kind, None),
            Outcome::Ignored => return (Kind::Unknown, None),
            // Without other hints a phone number that fails for good is no number.
            Outcome::Bounce(Some(true)) if channel == Some(Channel::Sms) => {
                (Some(true), weak(Attribution::Recipient, FailureClass::InvalidNumber))
            }
            Outcome::Bounce(permanent) => (permanent, None),
            Outcome::Deferred => (Some(false), None),
            Outcome::Rejected => (Some(false), weak(Attribution::Provider, FailureClass::Undetermined)),
        };
        let (reason, status) = (given.text(&self.reason), given.text(&self.enhanced_status));
        let evidence = Evidence {
            word: meaning.hint.or(usual),
            permanent,
            smtp_code: given.text(&self.smtp_code).and_then(|text| text.trim().get(..3)?.parse().ok()),
            enhanced_status: status.as_deref(),
            diagnostic: reason.as_deref(),
        };
        let code = given.text(&self.code);
        let attempt = given.text(&self.attempt).and_then(|text| text.trim().parse().ok());
        let (bounce, failure) = draft::failure(&evidence, code.as_deref().or(detail), attempt);
        let kind = match meaning.outcome {
            Outcome::Deferred => Kind::Deferred,
            Outcome::Rejected => Kind::Rejected,
            _ => bounce,
        };
        (kind, Some(failure))
    }

    fn scope(&self, meaning: &Meaning, given: &Given<'_, '_>, kind: Kind) -> Result<Option<Scope>, &'static str> {
        let named = match &meaning.reach {
            Reach::Nothing => return Ok(None),
            Reach::Scope(scope) => return Ok(Some(scope.clone())),
            Reach::List => given.text(&self.list).map(|name| Scope::category(name.trim())),
            Reach::Sender => given.text(&self.sender).map(|name| Scope::sender(name.trim())),
        };
        match named {
            Some(scope) => Ok(Some(scope)),
            // Who leaves a list that is not named has left; who returns to one has not taken back what else was said.
            None if kind == Kind::Unsubscribed => Ok(Some(Scope::Marketing)),
            None => Err("missing_list: nothing tells what the recipient returned to"),
        }
    }

    /// What tells this event from another: its id, else what the adapter says, else all of it. An id in a header is that of
    /// the whole request, so the event itself stands beside it.
    fn identity<'g>(
        &self,
        given: &'g Given<'_, '_>,
        element: &Element<'_>,
        item: Option<Value<'_>>,
    ) -> Vec<Cow<'g, str>> {
        let (in_header, in_event): (Vec<&Spot>, Vec<&Spot>) =
            self.id.iter().partition(|spot| matches!(spot, Spot::Header(_)));
        if let Some(id) = in_event.into_iter().find_map(|spot| given.at(spot)) {
            return vec![id];
        }
        let mut identity = vec![in_header.into_iter().find_map(|spot| given.at(spot)).unwrap_or_default()];
        if self.identity.is_empty() {
            identity.push(Cow::Owned(digest(element.bytes, !self.is_form)));
            identity.extend(item.map(|item| Cow::Owned(digest(item.raw().as_bytes(), true))));
        } else {
            identity.extend(self.identity.iter().map(|spot| given.at(spot).unwrap_or_default()));
        }
        identity
    }
}

/// SHA-256 of bytes, in JSON without the white space between its parts.
fn digest(bytes: &[u8], is_json: bool) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    let (mut quoted, mut escaped, mut start) = (false, false, 0);
    for (at, byte) in bytes.iter().enumerate().filter(|_| is_json) {
        if !quoted && byte.is_ascii_whitespace() {
            context.update(&bytes[start..at]);
            start = at + 1;
            continue;
        }
        quoted ^= *byte == b'"' && !escaped;
        escaped = quoted && *byte == b'\\' && !escaped;
    }
    context.update(&bytes[start..]);
    hex::encode(context.finish())
}
