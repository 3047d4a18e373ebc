//! The words by which recipients opt out, come back and ask for help.
//!
//! With Advanced Opt-Out `OptOutType` tells what Twilio understood, in whatever language the messaging service was given.
//! Without it Twilio acts on its own words alone and passes the message on, so the same words are read here: English ones, and the
//! French ones of Canada. The message must be nothing but the word; case, white space, accents and punctuation at the end do
//! not count. Words that recipients use for leaving and Twilio does not act on ("opt out") are taken as meant: to go on sending
//! would be worse than to stop.
//!
//! Source: <https://help.twilio.com/articles/223134027>,
//! <https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out>, <https://www.twilio.com/docs/proxy/opt-out-keywords>.

/// What a recipient wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    /// No more messages from this sender.
    Stop,
    /// Messages from this sender again.
    Start,
    /// To know what this is; changes nothing.
    Help,
}

/// What Twilio says it understood.
pub(super) fn of_type(opt_out_type: &str) -> Option<Keyword> {
    match opt_out_type.trim().to_ascii_uppercase().as_str() {
        "STOP" => Some(Keyword::Stop),
        "START" => Some(Keyword::Start),
        "HELP" => Some(Keyword::Help),
        _ => None,
    }
}

/// Longest message that can be a word.
const WORD_BYTES_MAX: usize = 32;

/// The word that a message is, as one of ours and as it is written in the event; `None` where it is more than a word.
///
/// Numbers that are free to call are handled by the network, which lets recipients back in by `START` and `UNSTOP` but not by
/// `YES`.
pub(super) fn of_body(body: &str, toll_free: bool) -> Option<(Keyword, &'static str)> {
    let body = body.trim().trim_end_matches(['.', '!']).trim_end();
    if body.len() > WORD_BYTES_MAX {
        return None;
    }
    let word = body.to_uppercase().replace(['\u{ca}', '\u{c9}'], "E");
    Some(match word.as_str() {
        "STOP" => (Keyword::Stop, "STOP"),
        "STOPALL" | "STOP ALL" => (Keyword::Stop, "STOPALL"),
        "UNSUBSCRIBE" => (Keyword::Stop, "UNSUBSCRIBE"),
        "CANCEL" => (Keyword::Stop, "CANCEL"),
        "END" => (Keyword::Stop, "END"),
        "QUIT" => (Keyword::Stop, "QUIT"),
        "REVOKE" => (Keyword::Stop, "REVOKE"),
        "OPTOUT" | "OPT OUT" | "OPT-OUT" => (Keyword::Stop, "OPTOUT"),
        "ARRET" | "ARRETE" | "ARRETT" | "ARRETER" => (Keyword::Stop, "ARRET"),
        "START" => (Keyword::Start, "START"),
        "UNSTOP" => (Keyword::Start, "UNSTOP"),
        "YES" if !toll_free => (Keyword::Start, "YES"),
        "HELP" => (Keyword::Help, "HELP"),
        "INFO" => (Keyword::Help, "INFO"),
        "AIDE" => (Keyword::Help, "AIDE"),
        _ => return None,
    })
}

/// Whether a North American number is free to call.
pub(super) fn is_toll_free(number: &str) -> bool {
    let digits: String = number.chars().filter(char::is_ascii_digit).take(11).collect();
    let area = digits.strip_prefix('1').unwrap_or(&digits).get(..3).unwrap_or_default();
    number.trim_start().starts_with('+')
        && digits.len() == 11
        && digits.starts_with('1')
        && matches!(area, "800" | "833" | "844" | "855" | "866" | "877" | "888")
}
