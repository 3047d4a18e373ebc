//! What the `secrets` of a source prove: an HMAC in a header, over whatever the adapter says, or the secret itself.

use super::file::{Algorithm, AuthenticationSpec, Encoding, Scheme, SecretForm};
use super::template::{Piece, Template};
use super::time::TimeFormat;
use super::{AdapterError, is_credential, wrong};
use crate::verify::{self, Signed, TOLERANCE_SECONDS, fresh, hmac, same, url};
use crate::{Request, Source, SourceError, SourceSpec};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use domain::Timestamp;
use std::borrow::Cow;

/// Padding is left off by some senders.
const PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PADDING);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, PADDING);
/// Signatures looked at in one header; a sender that rotates its key has two.
const SIGNATURES_MAX: usize = 16;
/// SHA-512 in hex has 128.
const SIGNATURE_BYTES_MAX: usize = 192;

/// How a provider proves its webhooks.
#[derive(Debug)]
pub(super) enum Proof {
    Hmac(Hmac),
    Key { header: String, prefix: String },
    None,
}

#[derive(Debug)]
pub(super) struct Hmac {
    header: String,
    part: Option<String>,
    prefix: String,
    algorithm: Algorithm,
    encoding: Encoding,
    secret: SecretForm,
    content: Vec<Piece>,
    time: Option<Time>,
    tolerance: u64,
}

/// Where the signed time stands.
#[derive(Debug)]
struct Time {
    place: TimePlace,
    format: TimeFormat,
}

#[derive(Debug)]
enum TimePlace {
    Header(String),
    /// In a pair of the signature's header.
    Part(String),
}

impl Proof {
    /// Checks what the file says, and what it says too much.
    pub(super) fn new(spec: AuthenticationSpec) -> Result<Self, AdapterError> {
        let key = |name: &str| format!("authentication.{name}");
        let only_hmac = [
            ("part", spec.part.is_some()),
            ("algorithm", spec.algorithm.is_some()),
            ("encoding", spec.encoding.is_some()),
            ("secret", spec.secret.is_some()),
            ("content", spec.content.is_some()),
            ("time_header", spec.time_header.is_some()),
            ("time_part", spec.time_part.is_some()),
            ("time_format", spec.time_format.is_some()),
            ("tolerance", spec.tolerance.is_some()),
        ];
        if let Some((name, _)) = only_hmac.iter().find(|(_, is_set)| *is_set && spec.scheme != Scheme::Hmac) {
            return wrong(&key(name), "it says how an HMAC is made: leave it out, or write scheme = \"hmac\"");
        }
        let prefix = spec.prefix.clone().unwrap_or_default();
        match (spec.scheme, &spec.header) {
            (Scheme::None, None) if prefix.is_empty() => Ok(Self::None),
            (Scheme::None, _) => {
                wrong(&key("header"), "scheme = \"none\" looks at no header: leave `header` and `prefix` out")
            }
            (_, None) => wrong(&key("header"), "missing: name the header that holds the proof"),
            (Scheme::Key, Some(header)) => Ok(Self::Key { header: header.as_str().to_owned(), prefix }),
            (Scheme::Hmac, Some(header)) => {
                let header = header.as_str().to_owned();
                Hmac::new(header, prefix, spec).map(Self::Hmac)
            }
        }
    }

    /// The name of what decides.
    pub(super) const fn scheme(&self) -> &'static str {
        match self {
            Self::Hmac(hmac) => match hmac.algorithm {
                Algorithm::Sha1 => "hmac-sha1",
                Algorithm::Sha256 => "hmac-sha256",
                Algorithm::Sha512 => "hmac-sha512",
            },
            Self::Key { .. } => "key",
            Self::None => "none",
        }
    }

    /// Judges a request under a source's secrets.
    pub(super) fn judge(&self, request: &Request<'_>, source: &Source, secrets: &[String], now: Timestamp) -> Signed {
        match self {
            Self::Hmac(hmac) => hmac.judge(request, source, secrets, now),
            Self::Key { header, prefix } => {
                let given = request.header(header).ok_or("missing_key")?;
                let given = given.strip_prefix(prefix.as_str()).ok_or("malformed_key")?;
                // Compares with every secret, so that the time does not tell which one matched.
                let matched = secrets
                    .iter()
                    .fold(false, |found, key| found | (!key.is_empty() && same(given.as_bytes(), key.as_bytes())));
                if matched { Ok(None) } else { Err("wrong_key") }
            }
            Self::None => verify::no_signature(secrets),
        }
    }

    /// Headers to store: proofs that are good for one webhook, and what they are over. Never a key.
    pub(super) fn headers(&self) -> Vec<String> {
        let Self::Hmac(hmac) = self else { return Vec::new() };
        let mut headers = vec![hmac.header.clone()];
        if let Some(Time { place: TimePlace::Header(name), .. }) = &hmac.time {
            headers.push(name.clone());
        }
        headers.extend(hmac.content.iter().filter_map(|piece| match piece {
            Piece::Header(name) => Some(name.clone()),
            _ => None,
        }));
        headers.retain(|name| !is_credential(name));
        headers
    }

    /// The header that holds a secret.
    pub(super) fn secret_header(&self) -> Option<&str> {
        match self {
            Self::Key { header, .. } => Some(header),
            Self::Hmac(_) | Self::None => None,
        }
    }

    pub(super) fn check_source(&self, spec: &SourceSpec, name: &str) -> Result<(), SourceError> {
        let Self::Hmac(hmac) = self else {
            return match self {
                Self::None => verify::check_unsigned_source(spec, name),
                _ => verify::check_source(spec),
            };
        };
        verify::check_source(spec)?;
        if spec.secrets.iter().any(|secret| hmac.key(secret).is_none()) {
            return Err(SourceError(format!(
                "`secrets` holds text that is no {}, as the adapter {name} says that its keys are written",
                if hmac.secret == SecretForm::Hex { "hex" } else { "base64" }
            )));
        }
        let is_absolute = spec.public_url.as_deref().is_some_and(|url| url::Parts::of(url).is_some());
        if hmac.content.contains(&Piece::Url) && !is_absolute && !spec.secrets.is_empty() {
            return Err(SourceError(format!(
                "{name} signs the URL that it calls: set `public_url` to the webhook's URL, as it stands at the provider"
            )));
        }
        Ok(())
    }
}

impl Hmac {
    fn new(header: String, prefix: String, spec: AuthenticationSpec) -> Result<Self, AdapterError> {
        let key = |name: &str| format!("authentication.{name}");
        let (Some(algorithm), Some(encoding)) = (spec.algorithm, spec.encoding) else {
            let missing = if spec.algorithm.is_none() { "algorithm" } else { "encoding" };
            return wrong(
                &key(missing),
                "missing: write algorithm = \"sha256\" (sha1, sha512) and encoding = \"hex\" (base64, base64url)",
            );
        };
        let time = match (spec.time_header, spec.time_part) {
            (Some(_), Some(_)) => {
                return wrong(
                    &key("time_part"),
                    "the time stands in a header of its own or in a part of the signature's, not both",
                );
            }
            (Some(name), None) => Some(TimePlace::Header(name.as_str().to_owned())),
            (None, Some(part)) => Some(TimePlace::Part(part)),
            (None, None) => None,
        };
        let content = spec.content.unwrap_or_else(Template::body);
        match (time.is_some(), content.has(&Piece::Time)) {
            (true, false) => {
                return wrong(&key("content"), "a time that is not signed proves nothing: put {time} into `content`");
            }
            (false, true) => {
                return wrong(&key("content"), "{time} stands nowhere: set `time_header` or `time_part`");
            }
            (false, false) if spec.time_format.is_some() || spec.tolerance.is_some() => {
                return wrong(
                    &key("tolerance"),
                    "nothing tells the time: set `time_header` or `time_part`, or leave this out",
                );
            }
            (false, false) if !content.has(&Piece::Body) => {
                return wrong(
                    &key("content"),
                    "it leaves out both the body and a time, so that a recorded signature would pass for ever: add {body}",
                );
            }
            _ => {}
        }
        let format = spec.time_format.unwrap_or(TimeFormat::Seconds);
        Ok(Self {
            header,
            part: spec.part,
            prefix,
            algorithm,
            encoding,
            secret: spec.secret.unwrap_or_default(),
            content: content.0,
            time: time.map(|place| Time { place, format }),
            tolerance: spec.tolerance.unwrap_or(TOLERANCE_SECONDS),
        })
    }

    fn judge(&self, request: &Request<'_>, source: &Source, secrets: &[String], now: Timestamp) -> Signed {
        let given = request.header(&self.header).ok_or("missing_signature")?;
        let time = match &self.time {
            Some(time) => time.text(request, given)?,
            None => "",
        };
        if let Some(signed) = &self.time {
            let sent = signed.format.read(time).ok_or("malformed_timestamp")?;
            if !fresh(sent.as_seconds(), source, self.tolerance, now) {
                return Err("stale");
            }
        }
        let signed_url = match self.content.contains(&Piece::Url) {
            true => url::signed_url(request.url, source.spec.public_url.as_deref()).ok_or("unknown_url")?,
            false => Cow::Borrowed(""),
        };
        let mut parts: Vec<&[u8]> = Vec::with_capacity(self.content.len());
        for piece in &self.content {
            parts.push(match piece {
                Piece::Text(text) => text.as_bytes(),
                Piece::Body => request.body,
                Piece::Time => time.as_bytes(),
                Piece::Url => signed_url.as_bytes(),
                Piece::Method => request.method.as_bytes(),
                Piece::Header(name) => request.header(name).ok_or("missing_header")?.as_bytes(),
            });
        }
        let tags: Vec<Vec<u8>> = match &self.part {
            Some(part) => pairs(given, part).filter_map(|text| self.tag(text)).collect(),
            None => self.tag(given).into_iter().collect(),
        };
        if tags.is_empty() {
            return Err("malformed_signature");
        }
        let keys: Vec<Vec<u8>> = secrets.iter().filter_map(|secret| self.key(secret)).collect();
        let algorithm = self.algorithm();
        let right = tags.iter().find(|tag| keys.iter().any(|key| hmac::matches_key(algorithm, key, &parts, tag)));
        match right {
            Some(_) if self.content.contains(&Piece::Body) => Ok(None),
            // The decoded tag: it may be written in more than one way.
            Some(tag) => Ok(Some(hex::encode(tag))),
            None => Err("wrong_signature"),
        }
    }

    /// A signature of the right length, decoded.
    fn tag(&self, text: &str) -> Option<Vec<u8>> {
        let text = text.trim().strip_prefix(self.prefix.as_str())?;
        if text.len() > SIGNATURE_BYTES_MAX {
            return None;
        }
        let tag = match self.encoding {
            Encoding::Hex => hex::decode(text).ok()?,
            Encoding::Base64 => BASE64.decode(text).ok()?,
            Encoding::Base64url => BASE64_URL.decode(text).ok()?,
        };
        (tag.len() == self.algorithm().digest_algorithm().output_len()).then_some(tag)
    }

    fn algorithm(&self) -> ring::hmac::Algorithm {
        match self.algorithm {
            Algorithm::Sha1 => hmac::SHA1,
            Algorithm::Sha256 => hmac::SHA256,
            Algorithm::Sha512 => ring::hmac::HMAC_SHA512,
        }
    }

    /// The key that a secret stands for; an empty one is none.
    fn key(&self, secret: &str) -> Option<Vec<u8>> {
        let key = match self.secret {
            SecretForm::Text => secret.as_bytes().to_vec(),
            SecretForm::Hex => hex::decode(secret.trim()).ok()?,
            SecretForm::Base64 => BASE64.decode(secret.trim()).ok()?,
        };
        (!key.is_empty()).then_some(key)
    }
}

impl Time {
    fn text<'a>(&self, request: &Request<'a>, signature: &'a str) -> Result<&'a str, &'static str> {
        let found = match &self.place {
            TimePlace::Header(name) => request.header(name),
            TimePlace::Part(name) => pairs(signature, name).next(),
        };
        found.map(str::trim).filter(|text| !text.is_empty()).ok_or("missing_timestamp")
    }
}

/// The values of a name in a header such as `t=1768919535,v1=5f3a…,v1=91c0…`.
fn pairs<'a>(header: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    header.split(',').take(SIGNATURES_MAX).filter_map(move |pair| {
        let (given, value) = pair.split_once('=')?;
        (given.trim() == name).then(|| value.trim())
    })
}
