//! What replies say in words. Hosts disagree on codes, so phrases are read too, in the order of this list: what exonerates
//! the recipient stands before what blames it, and what is milder before what is harder.

use super::finder::Finder;
use crate::{Attribution, FailureClass};
use std::sync::LazyLock;

/// How a phrase stands to a code beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// Decides whatever code stands there.
    AboveCodes,
    /// Decides over codes that speak of the recipient or say little; a code that names another's failure decides over it.
    BesideCodes,
}

/// A phrase's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Phrase {
    /// The rule's id without its `text.` prefix.
    pub(super) id: &'static str,
    pub(super) attribution: Attribution,
    pub(super) class: FailureClass,
    pub(super) weight: Weight,
    pattern: &'static str,
}

impl Phrase {
    /// Whether it proves that the message or its sender was refused, whoever says otherwise.
    pub(super) fn acquits(&self) -> bool {
        matches!(self.attribution, Attribution::Message | Attribution::Sender)
    }
}

const fn above(id: &'static str, attribution: Attribution, class: FailureClass, pattern: &'static str) -> Phrase {
    Phrase { id, attribution, class, weight: Weight::AboveCodes, pattern }
}

const fn beside(id: &'static str, attribution: Attribution, class: FailureClass, pattern: &'static str) -> Phrase {
    Phrase { id, attribution, class, weight: Weight::BesideCodes, pattern }
}

/// Ordered; the first that matches decides. Matched against [`plain`] text.
const PHRASES: &[Phrase] = &[
    above(
        "suppressed",
        Attribution::Provider,
        FailureClass::SuppressedByProvider,
        r"suppress(ed|ion)\b|not delivering to (a |an )?(previously|unsubscribed|user who)|previously (bounced|unsubscribed|complained)",
    ),
    // Microsoft 365 hides unknown recipients behind this policy wording when its directory blocks at the edge.
    above(
        "directory_edge_block",
        Attribution::Recipient,
        FailureClass::UnknownRecipient,
        r"5\.4\.1 .*recipient address rejected: access denied|recipient address rejected: access denied.*as\(201806281\)|recipientnotfound|recipnotfound",
    ),
    above(
        "recipient_policy",
        Attribution::Domain,
        FailureClass::Policy,
        r"recipient address rejected: (access denied|(local )?policy)|badrcptto|external forwarding",
    ),
    above(
        "recipient_rate",
        Attribution::Domain,
        FailureClass::Rate,
        r"receiving mail (too quickly|at a rate)|recipient('s| has) .*(receive limit|message rate|rate limit|number of messages|too many messages)|(rate ?limit|limit)\w* (is |was |has been |)(exceeded |reached )?for (this |the )?(mailbox|recipient)|can receive per (hour|day)",
    ),
    above(
        "relay",
        Attribution::Domain,
        FailureClass::Relay,
        r"relay(ing|)\b.*(denied|prohibited|not (permitted|allowed)|access|reject|disallow)|(unable|not (permitted|allowed|authori[sz]ed)|denied|cannot) .*to relay|not a (local|relay) |do not relay|open relay|as a relay|not local to this|not local host|allowed rcpthosts|no such gateway domain",
    ),
    above(
        "recipient_tls",
        Attribution::Domain,
        FailureClass::Protocol,
        r"\b(start)?tls\b.*(not (offered|supported|available)|handshake|negotiat)|(did|does) not (offer|support) (start)?tls|certificate .*(verif|valid|invalid|expired|fail|trust|mismatch)|\bdane\b|\btlsa|mta-sts|requiretls|smtputf8 required|internationali[sz]ed address",
    ),
    above(
        "protocol",
        Attribution::Provider,
        FailureClass::Protocol,
        r"\bstarttls\b|\btls\b .*(required|error)|not sent over a tls|encryption (required|needed)|client (was |is )?not authenticated|^(\d{3}[ -]|[45]\.\d+\.\d+ )*(error: )?(smtp )?(auth|authentication) (failed|failure|unsuccessful|is required|required)|incorrect authentication|authentication mechanism|invalid (credentials|command)|syntax error( in (command|parameters)|[,:\n]|$)|sequence of commands|smtp synchroni[sz]ation|command (not|unrecognized|unknown)|parameters not recogni[sz]ed|need (mail|rcpt) command|(must precede|before) data\b|not yet given",
    ),
    above(
        "restricted",
        Attribution::Sender,
        FailureClass::Policy,
        r"rst\.(sender|notauth)|delivery restriction|allowed.?senders|from outside (of )?(its|the|this|your|our) organi[sz]ation|only accepts? (mail|messages?) from|reception setting|senders?('s|) (domain |address |)(is |are |)(in|on) .*list",
    ),
    above("mx_lookup", Attribution::Domain, FailureClass::Dns, r"\bmx\b (info|lookup)|get mx\b"),
    above(
        "authentication",
        Attribution::Sender,
        FailureClass::Policy,
        r"\bdmarc\b|\bdkim\b|\bspf\b|sender policy framework|unauthenticated|sender id|not (rfc 5322 |)authenticated|authentication (checks?|results?|information|level) |reverse (dns|hostname|lookup)|\brdns\b|\bptr\b|\bhelo\b|\behlo\b|cannot find your|spoof",
    ),
    above(
        "reputation",
        Attribution::Sender,
        FailureClass::Reputation,
        r"reputation|sender ?(score|base)|(too |spike in |unfavorable |user |poor |history of )(many |unfavorable )?(e-mail |email )?(complaints|statistics)|permanently deferred|namespace mining|bounce attacks|too many (unknown users|invalid)|abuse detected",
    ),
    above(
        "blocklist",
        Attribution::Sender,
        FailureClass::Reputation,
        r"spamhaus|spamcop|barracudacentral|sorbs|ipcheck\.|uceprotect|abuseat|invaluement|\brbls?\b|rblsmtpd|\bdnsbls?\b|\bsurbl\b|\b(dns|uri)_?rbl|(black|block|deny|abuse)[ -]?list(ed|s|ee|)\b([^.a-z0-9-]|$)|(is|are|was|been|ip|host|client|currently|found) (listed|on one or more) (in|on|at|by|dns)|(client|sending|your)( host| ip| mta| server)( address|)( \[[^\]]*\]| [0-9a-f.:]+|) (is |was |has been |)(temporarily |)(block|ban|refus|reject)|\bip\b.*(blocked|banned|poor|black)|block(ed|) (for|due to) (abuse|spam)|blocked[ ,:\n-]+(see|look at|visit) \S|blocked using|network( range|) .*(banned|blocked)|banned (sending ip|sender)|_is_blocked|s3140|s3150|\bip=[0-9a-f.:]+ -|\bhl:(rep|ipb|itc)\b",
    ),
    above(
        "rate",
        Attribution::Sender,
        FailureClass::Rate,
        r"too (many|much) (open |concurrent |simultaneous )?(smtp |tls )?(connections|messages?|e?-?mails?|recipients|errors|failures|sessions|mail)|rate limit|ratelimit|limited by rate|throttl|sending (rate|limit|too)|message rate|rate control|exceed\w* .*(rate|messages per|connections?|e?-?mails per|attempts?|(message|sending|daily) quota)|(max|maximum)( number of)? (messages|message per|recipients|connections|e?-?mails)|(connection|concurrency|attempt|message|frequency) (rate )?limit|frequency (is )?(limited|too)|connection frequency|trying? to send too|send too fast|mail flood|too fast|slow down|(high|sending|excessive) (frequency|volume)|volume of (mail|message|email)|daily (sending )?(limit|quota)|zu viele verbindungen|trop de connexions|\b(mi|rp):(cel|qrc|drc|trc|cdl)\b",
    ),
    above("greylist", Attribution::Domain, FailureClass::Policy, r"gr[ea]y ?-?list"),
    above(
        "malware",
        Attribution::Message,
        FailureClass::Content,
        r"\bvirus|malware|phish|malicious|eicar|security (issue|risk)|(prohibited|illegal|forbidden|banned|executable) (attachment|file)|attachment .*(not (allowed|accepted)|prohibited|blocked|rejected)|blocked (file|attachment)|\bmacros?\b|\bbanned: ",
    ),
    above(
        "spam_content",
        Attribution::Message,
        FailureClass::Content,
        r"(looks like|detected|detected as|classified as|considered|identified as|marked as|flagged as|rejected as|rejected for|suspected|suspicion of|likely|resembles|because of|due to) .*(spam|junk|bulk)|(looks like|detected|suspected) (spam|junk)|spam (message|content|detect|score|reject|mail|filter|signature|url)|spam\w*signature|(is|as|als|como|comme|comme du|come|jako|как) spam\b|appears to be (spam|unsolicited)|unsolicited (mail|message|bulk)|content[- ](filter|reject|examination|policy|denied|not (allowed|acceptable))|content (was |has been |)(rejected|blocked|denied)|(url|link|content) .*(or content )?blocked|(url|link)s? .*(complaint|spam|reject)|message (content )?(was |has been |)(rejected|refused|blocked) (due to|because of|because it contains|for|by) (content|spam|our|its|a)|high (spam )?probability|high-?scoring|\bspam\b.*(reject|block|refus)|(reject|block|refus)\w*,? .*\bspam|filtered.*\bspam|\bdt:spm\b|(bad|malformed|invalid|missing|illegal).*header|headers?.*(invalid|missing|malformed|not accepted|syntax|utf-?8)|bare ?line ?feed|line length|invalid mime|message .*(malformed|does not conform)|спам|垃圾邮件|スパム|스팸",
    ),
    above(
        "sender",
        Attribution::Sender,
        FailureClass::Policy,
        r"(sender|mail from|from (address|domain|header)|return.path|envelope.from)s?('s|)( address| domain| verif\w*| mailbox|)( for \S+|)[:,]? .*(reject|denied|den[iy]|refus|block|not (allowed|permitted|accepted|exist|found|verified|match|resolve)|does not|does ?n.t|must|invalid|unknown|suspended|fail|unverified|null|pending|required|has no)|(reject|block|refus|den)\w* .*\bsender|(setup|callout|callback) .*verif|sender verif|null sender|(not|isn.t|aren.t) (be )?(authori[sz]ed|allowed|permitted) to (send|submit|connect)|you are not (allowed|authori[sz]ed)|mail from you|required for (the )?sender|domain of sender|envelope[ -](sender|blocked)|(your|sending|sender.?s) (account|domain|server|country)\b.*(suspend|disabled|blocked|rejected|banned|deactivated|not|has no)|invalid sender|unverified (address|sender)|bad (outbound |envelope )?sender|not owned by|must equal|valid from\b|client host rejected|access denied(,|\n| for this host|$)|(your )?access .*(has been|was) rejected|not accepted from|reject mail from|blocked from sending|(ip|host) .*(range |ranges )?(is |are |)refused|dynamic (ip|or)|residential|dialup|tenant has exceeded|unresolvable|invalid dns mx|dns unique|by (our |local |)policy|policy (reasons|restrictions|violation|prohibit|that prohibited)|(local|security|domain|sender) polic|header based|blocked\)|challenge|absender|exp.{1,2}diteur|remitente|remetente|mittente|отправител|发件人|\bdt:sum\b",
    ),
    above(
        "size",
        Attribution::Message,
        FailureClass::Size,
        r"message (file |is |)(too (big|large|long)|larger than)|(message|mail|header) (size|length) (limit|exceed|is)|(maximum|max|fixed) (message |mail |header |)(size|length)|exceed\w* .*(message size|size limit|maximum (size|message)|databytes)|too (large|big)|larger than|sizelimit|header .*too (long|big)|zu (gross|groß)",
    ),
    above(
        "loop",
        Attribution::Domain,
        FailureClass::Protocol,
        r"too many (hops|received)|hop count|exceeded \d+ hops|\bloop(s|ing|ed|)\b",
    ),
    above(
        "connection",
        Attribution::Domain,
        FailureClass::Timeout,
        r"(unable|failed|could not|cannot|wasn't able|not able) (to |)(connect|establish)|(error|failed) dialing|lost connection|did not accept our requests|connection failures|connection (refused|reset|closed|lost|dropped|died)|has been disconnected",
    ),
    above(
        "dns_passing",
        Attribution::Domain,
        FailureClass::Dns,
        r"\bservfail\b|dns (soft|timeout|query failed|failure)|temporary dns|name ?server (timeout|fail|not respond)|unable to reach name ?server|(host|domain)( name|) not found, try again|host lookup did not complete|(dns|mx|cname|name) ?lookup .*(timed out|temporar|fail|did not)|malformed or unexpected name server",
    ),
    above(
        "bad_domain",
        Attribution::Domain,
        FailureClass::BadDomain,
        r"(domain|host)( name|) ([a-z0-9.-]+ |)(does not exist|doesn't exist|not found|not exist|no longer|is invalid|does not accept|doesn't accept|does not take|has expired|is not valid|has no|name is invalid)|domain (owner has changed|not found)|(unknown|invalid|bad|no such|non-?existent) (destination |recipient |mail )?(domain|host)s?|(domain|host) unknown|(find any|no) host named|nxdomain|null ?mx|bad destination (host|system|domain)|unrouteable mail domain|non-?existent hosts|dominio (no existe|inexistente|inesistente)|domaine (inconnu|inexistant)",
    ),
    above(
        "dns",
        Attribution::Domain,
        FailureClass::Dns,
        r"\bmx\b (info|record|lookup|host|entr|for)|(no|get|find|lookup|resolve|valid)\w* .*\bmx\b|\bdns\b (error|fail|lookup|query|timeout|server|problem|soft)|name (resolution|server|service)|host not found|could not (be |)resolve|unable to (resolve|route)|can(not|'t) (resolve|find your|route)|no such host",
    ),
    beside(
        "mailbox_full",
        Attribution::Recipient,
        FailureClass::MailboxFull,
        r"(mail ?box|inbox) (is )?(full|over ?-?quota)|user (is )?over ?-?quota",
    ),
    above(
        "timeout",
        Attribution::Domain,
        FailureClass::Timeout,
        r"time(d|) ?-?out\b|did not answer|no (answer|response|route) (from|to)|(network|host) (is |)unreachable|(delivery( time|)|retry time(out|)|queue (time|lifetime)|message) expired|(undeliverable|retried|trying|in (the )?queue|delivered) for (too long|\d+ (hour|day))|queue too long|max time|too old|too many failed attempts|number of attempts|failing for a long time|not responding",
    ),
    // Beside codes: `4.7.500 Server busy` is a throttle, and its code tells.
    beside(
        "busy",
        Attribution::Domain,
        FailureClass::Undetermined,
        r"server (is )?(busy|overload|shutting)|(service|system) (is )?(currently |temporarily )?(unavailable|not available|not accepting|shutting|refuse)|system (storage|error|problem)|(insufficient|not enough|no) (system |disk )(storage|space)|load average|maintenance|temporary (server|local|system|failure|lookup|error|problem)|local (error|problem)|(configuration|mail system) (error|problem)|queue file|internal resource|transient exception|unable to process connection",
    ),
    beside(
        "mailbox_full",
        Attribution::Recipient,
        FailureClass::MailboxFull,
        r"(mail ?box|inbox|mail ?folder|account|user|recipient|disk)('s|)( storage| quota| disk| size|) .*\b(is |)(full|over ?-?quota|over .*quota|over disk limit|out of (storage|space)|exceeded|exhausted|no space|limit reached)|over ?-?quota|quota (is |has been |)(exceeded|full|reached|exhausted)|exceed\w* .*(quota|storage)|exhausted .*(storage|space|quota)|(storage|disk) (limit|quota|space|allocation) (is |)(exceed|full|reach)|(mail ?box|storage|size) (size )?limit (exceeded|reached)|maximum capacity|out of (storage|disk|mailbox)|(insufficient|no) (mailbox |)(space|storage|quota)|space is insufficient|no space left|mailbox (is )?full|postfach .*voll|speicherlimit|(bo(i|î)te|mess?ag\w+) .*(pleine|satur)|(buz(o|ó)n|casilla|bandeja) .*(llen|cuota)|caixa .*cheia|casella .*piena|postbus vol|przepe(l|ł)nion|kutusu dolu|переполнен|превышен.* (квот|лимит)|已满|已滿|容量|사서함이 가득",
    ),
    beside(
        "unknown_recipient",
        Attribution::Recipient,
        FailureClass::UnknownRecipient,
        r"(unknown|no such|non-?existent|invalid) (or [a-z]+ )?(user|recipient|mail ?box|address|account)|user unknown|no mail ?box (here )?by that name",
    ),
    beside(
        "disabled",
        Attribution::Recipient,
        FailureClass::Disabled,
        r"(account|mail ?box|user|recipient|address|e-?mail|customer)\b.*\b(disabled|deactivated|inactive|inactivity|suspended|frozen|closed|locked|blocked|terminated|discontinued|deleted|expired|not (active|available)|no longer (active|available|in use|used|valid|exists?|accepts?|employed|with|on (the )?server|works)|has moved|have moved)|(disabled|inactive|deactivated|suspended|closed) (e-?mail )?(recipient|user|mail ?box|account|address)|disableduser|no longer (works|employed|in use|on server|with (the|this|our)|at this)|owner has changed|(postfach|konto) .*(deaktiviert|gesperrt)|compte .*(d(e|é)sactiv|suspendu|ferm)|cuenta .*(desactivada|suspendida|cerrada)|conta .*(desativada|suspensa)|заблокирован|отключ(е|ё)н|아이디가 휴면|已停用|已被禁用",
    ),
    beside(
        "unknown_recipient",
        Attribution::Recipient,
        FailureClass::UnknownRecipient,
        r"(unknown|no such|invalid|non-?existent|unrecogni[sz]ed|bad|undeliverable|illegal|not a valid) ((e-?mail|local|destination|virtual|recipient|mailbox|user|or|such|route|disabled) )*(user|recipient|mail ?box|address|account|person|customer|alias)|(user|recipient|mail ?box|address|addressee|account|local part|person|alias|customer)\b.*\b(unknown|not known|not (be |)found|does not exist|doesn't exist|not exist|nonexistent|non-existent|not (a |)valid|invalid|undeliverable|unavailable for|cannot be found|couldn't be found|not listed|not local|not recogni[sz]ed|unrouteable|not a (user|recipient))|does not exist|doesn't exist|doesn't have an? .*account|not our customer|no (mail ?box|user|account|one|recipient|person)\b.*(here|by that|with that|named|found|known|at this)|nosuchuser|unrouteable address|action not taken: mailbox (unavailable|name)|(user|recipient|mailbox) not (in|on|local) |address rejected(\n|$)|^(\d{3}[ -]?|#?[45]\.\d+\.\d+ )*recipient address rejected: \S+(\n|$)|unbekannt\b|unbekannte (adresse|empf)|existiert nicht|(utilisateur|destinataire|adresse|usager)\b.*(inconnu|inexistant|invalide)|(usuario|cuenta|buz(o|ó)n|destinatario|direcci(o|ó)n|usu(a|á)rio|caixa|conta|destinat(a|á)rio|endere(c|ç)o|casella|utente|indirizzo)\b.*(desconocid|no existe|inexistente|desconhecid|n(a|ã)o existe|sconosciut|inesistente|non esiste)|onbekende? (gebruiker|adres)|niezna(ny|na)|nie istnieje|neexistuje|bulunamad|не найден|не существует|неизвестн|不存在|見つかりません|存在しません|존재하지",
    ),
];

static PATTERNS: LazyLock<Finder> = LazyLock::new(compile);

#[expect(clippy::expect_used, reason = "the patterns are constants, read by every test that classifies a text")]
fn compile() -> Finder {
    Finder::new(PHRASES.iter().map(|phrase| phrase.pattern)).expect("the phrase patterns can be read")
}

/// The first phrase of the list that a reply holds.
pub(super) fn first_match(reply: &str) -> Option<&'static Phrase> {
    if reply.is_empty() {
        return None;
    }
    PATTERNS.first(plain(reply).as_bytes()).and_then(|index| PHRASES.get(index))
}

/// Words by which a reply says itself that it will pass.
pub(super) fn says_it_passes(reply: &str) -> bool {
    static PASSING: LazyLock<Option<regex::bytes::Regex>> = LazyLock::new(|| {
        regex::bytes::Regex::new(r"(?i-u)temporar|try (again|later)|later time|vor(u|ü)bergehend").ok()
    });
    PASSING.as_ref().is_some_and(|passing| passing.is_match(reply.as_bytes()))
}

/// Lower-cased, a sentence a line with single spaces, without addresses, and links cut to host and topic:
/// `<spam.policy@example.com> unknown user, see https://example.com/spam` says nothing about spam.
///
/// Gaps in the patterns (`.*`) end with the line.
fn plain(reply: &str) -> String {
    let mut words = String::with_capacity(reply.len() + 8);
    for word in reply.split_whitespace() {
        // `(jane@example.com:blocked)` still says what follows the address.
        let word = match word.split_once('@') {
            Some((_, after)) => after.split_once(':').map_or("", |(_, said)| said),
            None => word,
        };
        if word.is_empty() {
            continue;
        }
        if !words.is_empty() && !words.ends_with('\n') {
            words.push(' ');
        }
        // Few words are links: a byte is sought sooner than a text.
        match word.contains(':').then(|| word.split_once("://")).flatten() {
            Some((before, link)) => {
                let before = before.trim_end_matches(|c: char| c.is_ascii_alphabetic());
                lower(&mut words, before);
                if !before.is_empty() {
                    words.push(' ');
                }
                lower(&mut words, link.split(['/', '?', '#', ')']).next().unwrap_or_default());
                if let Some((_, topic)) = link.split_once("?p=") {
                    words.push(' ');
                    lower(&mut words, topic);
                }
            }
            None => lower(&mut words, word),
        }
        if words.ends_with(['.', ';']) {
            words.pop();
            words.push('\n');
        }
    }
    words
}

fn lower(words: &mut String, word: &str) {
    for c in word.chars() {
        if c.is_ascii() {
            words.push(c.to_ascii_lowercase());
        } else {
            words.extend(c.to_lowercase());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alternative_is_a_pattern_and_needs_a_word() {
        for phrase in PHRASES {
            let read = regex::bytes::RegexBuilder::new(phrase.pattern).unicode(false).build();
            assert!(read.is_ok(), "{}: {read:?}", phrase.id);
            assert!(!phrase.pattern.contains("||") && !phrase.pattern.ends_with('|'), "{}", phrase.id);
        }
        // The dearest are those that are tried on every text.
        assert_eq!(PATTERNS.without_words(), Vec::<&str>::new());
    }

    /// A phrase may stand in two places of the order, but an id means one thing.
    #[test]
    fn an_id_means_one_thing() {
        for (at, phrase) in PHRASES.iter().enumerate() {
            for other in PHRASES[at + 1..].iter().filter(|other| other.id == phrase.id) {
                assert_eq!((other.attribution, other.class), (phrase.attribution, phrase.class), "{}", phrase.id);
            }
        }
    }

    #[test]
    fn addresses_and_links_are_not_read() {
        assert_eq!(plain("550 <spam@EXAMPLE.com>... User  unknown."), "550 user unknown\n");
        assert_eq!(plain("x (jane@example.com:blocked)"), "x blocked)");
        assert_eq!(plain("see https://a.example/spam?p=NoSuchUser; bye"), "see a.example nosuchuser\nbye");
        assert_eq!(plain("Empf\u{c4}nger"), "empf\u{e4}nger");
    }
}
