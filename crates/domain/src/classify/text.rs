//! What replies say in words. Hosts disagree on codes, so phrases are read too, in the order of this list: what exonerates
//! the recipient stands before what blames it.

use crate::{Attribution, FailureClass};
use regex::bytes::{RegexSet, RegexSetBuilder};
use std::sync::LazyLock;

/// A phrase's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Phrase {
    /// The rule's id without its `text.` prefix.
    pub(super) id: &'static str,
    pub(super) attribution: Attribution,
    pub(super) class: FailureClass,
    pattern: &'static str,
}

impl Phrase {
    /// Whether it outweighs a code beside it: what exonerates the recipient does, and one wording whose code is known to
    /// mislead.
    pub(super) fn outweighs_codes(&self) -> bool {
        self.attribution != Attribution::Recipient || self.id == "directory_edge_block"
    }
}

const fn phrase(id: &'static str, attribution: Attribution, class: FailureClass, pattern: &'static str) -> Phrase {
    Phrase { id, attribution, class, pattern }
}

/// Ordered; the first that matches decides. Matched against lower-case text without addresses.
const PHRASES: &[Phrase] = &[
    // Microsoft 365 hides unknown recipients behind this policy wording when its directory blocks at the edge.
    phrase(
        "directory_edge_block",
        Attribution::Recipient,
        FailureClass::UnknownRecipient,
        r"5\.4\.1 .*recipient address rejected: access denied|recipient address rejected: access denied.*as\(201806281\)|recipientnotfound|recipnotfound",
    ),
    phrase(
        "mx_lookup",
        Attribution::Domain,
        FailureClass::Dns,
        r"\bmx\b (info|record|lookup|host|entr)|(no|get|find|lookup|resolve)\w* .{0,20}\bmx\b",
    ),
    phrase(
        "blocklist",
        Attribution::Sender,
        FailureClass::Reputation,
        r"spamhaus|spamcop|barracudacentral|sorbs|proofpoint dynamic reputation|senderscore|uceprotect|\brbl\b|\bdnsbl\b|black ?list|blocklist|block list|(is|are|was|been|ip|host|client|currently) listed (in|on|at|by) |reputation|(client|sending|your)( host| ip| mta|)( address|)( \[[^\]]*\]| [0-9a-f.:]+|) (is |was |has been |)(temporarily |)(block|ban|refus|reject)|\bip\b.{0,60}(blocked|banned|not allowed|poor)|banned sending ip|s3140|s3150",
    ),
    phrase(
        "spam_content",
        Attribution::Message,
        FailureClass::Content,
        r"(looks like|detected as|classified as|considered|identified as|marked as|flagged as|rejected as|rejected for|suspected|likely|unsolicited|resembles|because of|due to) .{0,30}(spam|junk|bulk)|spam (message|content|detect|score|reject|mail)|is spam\b|appears to be (spam|unsolicited)|unsolicited (mail|message|bulk)|content (filter|reject|not allowed|policy|denied)|message (content )?(was |has been |)(rejected|refused|blocked) (due to|because of|for|by) (content|spam|our)|high (spam )?probability|\bspam\b.{0,20}(reject|block|refus)|(reject|block|refus)\w* .{0,20}\bspam\b",
    ),
    phrase(
        "malware",
        Attribution::Message,
        FailureClass::Content,
        r"\bvirus\b|malware|phish|malicious|prohibited attachment|attachment .{0,30}(not allowed|prohibited|blocked|rejected)|blocked (file|attachment)|executable (file|attachment)",
    ),
    phrase(
        "authentication",
        Attribution::Sender,
        FailureClass::Policy,
        r"\bdmarc\b|\bdkim\b|\bspf\b|unauthenticated (mail|email|message)|sender id|not (rfc 5322 |)authenticated|authentication (checks?|results?|information) |reverse dns|\bptr\b (record|lookup|check)|no ptr|\bhelo\b",
    ),
    phrase(
        "rate",
        Attribution::Sender,
        FailureClass::Rate,
        r"too many (connections|messages|emails|mails|recipients|concurrent|errors|failures|sessions|invalid)|rate limit|ratelimit|throttl|sending (rate|limit|too)|message rate|receiving mail (too quickly|at a rate)|exceeded .{0,30}(rate|messages per|connections)|try(ing)? to send too|mail flood|too fast|(high|sending|excessive) (frequency|volume)|volume of (mail|message|email)",
    ),
    phrase("greylist", Attribution::Domain, FailureClass::Policy, r"gr[ea]y ?-?list"),
    phrase(
        "sender",
        Attribution::Sender,
        FailureClass::Policy,
        r"(sender|mail from|from (address|domain|header)|return.path|envelope.from)( address| domain| verify| mailbox|)[:,]? .{0,20}(reject|denied|refus|block|not (allowed|permitted|accepted|exist|found|verified)|does not exist|invalid|unknown|suspended|failed|unverified)|(reject|block|refus|den)\w* .{0,30}\bsender|not (authorized|authorised|allowed|permitted) to send|you are not allowed|domain of sender|(your|sending|sender.?s) (account|domain|server)\b.{0,30}(suspend|disabled|blocked|rejected|banned|deactivated)|invalid sender|unverified (address|sender)|bad sender",
    ),
    phrase(
        "size",
        Attribution::Message,
        FailureClass::Size,
        r"message (is |)(too (big|large|long)|size|length)|(maximum|max) (message |mail |)(size|length)|exceeds? .{0,30}(message size|size limit|maximum (size|message))|too large|header .{0,10}too (long|big)",
    ),
    phrase(
        "bad_domain",
        Attribution::Domain,
        FailureClass::BadDomain,
        r"(domain|host)( name|) ([a-z0-9.-]+ |)(does not exist|doesn't exist|not found|not exist|no longer|is invalid|does not accept|doesn't accept|has expired|is not valid)|(unknown|invalid|bad|no such|non-?existent) (destination |recipient |)(domain|host)|nxdomain|null mx|bad destination (host|system|domain)|no such domain|unrouteable (mail )?domain",
    ),
    phrase(
        "dns",
        Attribution::Domain,
        FailureClass::Dns,
        r"\bdns\b (error|fail|lookup|query|timeout|server|problem)|name (resolution|server|service)|host not found|could not (be |)resolve|unable to (resolve|route)|can(not|'t) (resolve|find your|route)|servfail|no route to host",
    ),
    phrase(
        "timeout",
        Attribution::Domain,
        FailureClass::Timeout,
        r"timed? ?-?out|connection (refused|reset|closed|lost|dropped|died)|(unable|failed|could not|cannot) (to |)connect|no (answer|response) from|network (is |)unreachable|(delivery time|retry time(out|)|queue (time|lifetime)|message) expired|(undeliverable|retried|trying) for (too long|\d+ (hour|day))|too old|server (busy|unavailable|down|shutting)|service (not available|temporarily)|not responding",
    ),
    phrase(
        "relay",
        Attribution::Domain,
        FailureClass::Relay,
        r"relay(ing|)\b.{0,30}(denied|prohibited|not (permitted|allowed)|access|reject|disallow)|(unable|not (permitted|allowed|authorized)|denied|cannot) .{0,10}to relay|not a (local|relay) |we do not relay|open relay|not local to this",
    ),
    phrase(
        "tls",
        Attribution::Provider,
        FailureClass::Protocol,
        r"\bstarttls\b|\btls\b .{0,30}(required|fail|handshake|error|negotiat)|certificate (verif|invalid|expired)|syntax error( in (command|parameters)|[,;:]|$)|bad sequence|command (not|unrecognized|rejected)",
    ),
    phrase(
        "mailbox_full",
        Attribution::Recipient,
        FailureClass::MailboxFull,
        r"(mail ?box|inbox|mail ?folder|account|user|recipient|disk)('s|)( storage| quota| disk|) .{0,40}(is |)(full|over ?-?quota|over .{0,10}quota|out of (storage|space)|exceeded)|over ?-?quota|quota (is |has been |)(exceeded|full|reached)|exceed\w* .{0,30}(quota|storage)|(storage|disk) (limit|quota|space|allocation) (exceed|full)|out of (storage|disk|mailbox)|insufficient (mailbox |disk |)(space|storage|quota)|mailbox full",
    ),
    phrase(
        "disabled",
        Attribution::Recipient,
        FailureClass::Disabled,
        r"(account|mail ?box|user|recipient|address|email|customer)\b.{0,40}\b(disabled|deactivated|inactive|suspended|frozen|closed|locked|terminated|discontinued|deleted|expired|not active|no longer (active|available|in use|used|valid|exists?|accepts?|employed|with|on server|works))|disabled (recipient|user|mailbox|account)|disableduser|inactive (user|account|mailbox|recipient)|no longer (works|employed|with (the|this|our)|at this)|mailbox (is )?not active",
    ),
    phrase(
        "unknown_recipient",
        Attribution::Recipient,
        FailureClass::UnknownRecipient,
        r"(unknown|no such|invalid|non-?existent|nonexistent|unrecogni[sz]ed|bad|undeliverable) ((e-?mail|local|destination|virtual|recipient|mailbox|user|or|such) )*(user|recipient|mail ?box|address|account|person|customer|alias)|(user|recipient|mail ?box|address|account|local part|person|alias|customer)\b.{0,60}\b(unknown|not known|not (be |)found|does not exist|doesn't exist|not exist|nonexistent|not (a |)valid|invalid|undeliverable|unavailable for|cannot be found|couldn't be found|not listed|not recogni[sz]ed|unrouteable|not a (user|recipient))|does not exist|doesn't exist|doesn't have an? .{0,40}account|not our customer|no (mail ?box|user|account|one|recipient)\b.{0,30}(here|by that|with that|named|found|known)|nosuchuser|unrouteable address|requested action not taken: mailbox unavailable|(user|recipient|mailbox) not (in|on) ",
    ),
];

static PATTERNS: LazyLock<RegexSet> = LazyLock::new(compile);

#[expect(clippy::expect_used, reason = "the patterns are constants, compiled by every test that classifies a text")]
fn compile() -> RegexSet {
    RegexSetBuilder::new(PHRASES.iter().map(|phrase| phrase.pattern))
        .unicode(false)
        .build()
        .expect("the phrase patterns compile")
}

/// The first phrase of the list that a reply holds.
pub(super) fn first_match(reply: &str) -> Option<&'static Phrase> {
    if reply.is_empty() {
        return None;
    }
    let words = without_addresses(reply);
    PATTERNS.matches(words.as_bytes()).into_iter().next().and_then(|index| PHRASES.get(index))
}

/// Lower-cased, white space made single, and without anything that holds an `@`: `<spam.policy@example.com> unknown user`
/// says nothing about spam.
fn without_addresses(reply: &str) -> String {
    let mut words = String::with_capacity(reply.len());
    for word in reply.split_whitespace().filter(|word| !word.contains('@')) {
        if !words.is_empty() {
            words.push(' ');
        }
        words.extend(word.chars().map(|c| c.to_ascii_lowercase()));
    }
    words
}

#[cfg(test)]
pub(super) fn ids() -> Vec<&'static str> {
    PHRASES.iter().map(|phrase| phrase.id).collect()
}
