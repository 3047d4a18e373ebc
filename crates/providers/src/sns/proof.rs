//! Judging a notification: its proofs, in the order of what they cost.

use super::{Envelope, Hosts, Purpose, TOPIC_HEADER, allows, headers_agree};
use crate::verify::x509::Certificate;
use crate::verify::{self, fresh, rsa};
use crate::{Authentication, Request, Source, SourceError, SourceSpec, Wanted};
use domain::Timestamp;
use ring::signature::RsaParameters;

/// The scheme of signature version 1.
pub(crate) const SCHEME_SHA1: &str = "sns-rsa-sha1";
/// The scheme of signature version 2.
pub(crate) const SCHEME_SHA256: &str = "sns-rsa-sha256";
/// The scheme of what fails before its version is known.
const SCHEME: &str = "sns";

/// Seconds of freshness where the source says nothing. `Timestamp` is the time of publishing and stays the same over
/// retries, which go on for at most an hour; five minutes are left for clocks and delivery.
/// <https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html>
const TOLERANCE_SECONDS: u64 = 3_600 + 300;

/// What is signed, in this order. `Subject` only where it is there.
const OF_NOTIFICATION: &[&str] = &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"];
const OF_CONFIRMATION: &[&str] = &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"];

/// Judges all that a source asks for. The signature is asked for wherever the source lists topics or certificates, or has
/// certificates in `secrets`; `fetched` is the certificate that was wanted, once it is there.
pub(crate) fn authenticate(
    request: &Request<'_>,
    source: &Source,
    hosts: Hosts,
    fetched: Option<&Certificate>,
    now: Timestamp,
) -> Authentication {
    let spec = &source.spec;
    let given = match verify::static_proofs(request, spec) {
        Ok(given) => given,
        Err(refusal) => return refusal,
    };
    if spec.topics.is_empty() && !is_pinned(spec) {
        return verify::without_signature(given, spec);
    }
    let envelope = match Envelope::read(request.body) {
        Some(Ok(envelope)) => envelope,
        Some(Err(reason)) => return Authentication::refused(SCHEME, reason),
        None => return bare(request, source, given),
    };
    let judged = Signed::read(request, source, hosts, &envelope, now)
        .map_err(|reason| Authentication::refused(SCHEME, reason))
        .and_then(|signed| signed.judge(spec, hosts, fetched));
    judged.unwrap_or_else(|refused| refused)
}

/// A text that was delivered bare has no signature: other proofs must have vouched for it, and a source that names its
/// certificates wants to see them used. The header field with the topic is worth as much as those proofs.
fn bare(request: &Request<'_>, source: &Source, given: Option<&'static str>) -> Authentication {
    let topic = request.header(TOPIC_HEADER);
    match given {
        Some(_) if topic.is_some_and(|topic| !allows(source, topic)) => {
            Authentication::refused(SCHEME, "topic_not_allowed")
        }
        Some(scheme) if !is_pinned(&source.spec) => Authentication::passed(scheme),
        _ => Authentication::refused(SCHEME, "raw_delivery"),
    }
}

/// Whether a source names the certificates it takes; then no other is fetched.
fn is_pinned(spec: &SourceSpec) -> bool {
    !(spec.certificates.is_empty() && spec.secrets.is_empty())
}

/// A notification about which all is right that costs little, with what its signature needs.
struct Signed {
    scheme: &'static str,
    algorithm: &'static RsaParameters,
    published: Timestamp,
    signature: Vec<u8>,
    text: String,
    url: String,
}

impl Signed {
    fn read(
        request: &Request<'_>,
        source: &Source,
        hosts: Hosts,
        envelope: &Envelope<'_>,
        now: Timestamp,
    ) -> Result<Self, &'static str> {
        if !headers_agree(request, envelope) {
            return Err("headers_disagree");
        }
        if !allows(source, &envelope.topic()?) {
            return Err("topic_not_allowed");
        }
        let (scheme, algorithm) = match envelope.field("SignatureVersion")?.as_deref() {
            Some("1") => (SCHEME_SHA1, rsa::SHA1),
            Some("2") => (SCHEME_SHA256, rsa::SHA256),
            Some(_) => return Err("unknown_signature_version"),
            None => return Err("missing_signature"),
        };
        let published = envelope.field("Timestamp")?.ok_or("missing_timestamp")?;
        let published: Timestamp = published.parse().map_err(|_| "malformed_timestamp")?;
        if !fresh(published.as_seconds(), source, TOLERANCE_SECONDS, now) {
            return Err("stale");
        }
        let signature = envelope.field("Signature")?.ok_or("missing_signature")?;
        let signature = rsa::base64_signature(&signature).ok_or("malformed_signature")?;
        // As it stands in what HTTP endpoints get, or as in what functions get; it is not signed either way.
        let url = envelope.field("SigningCertURL")?.or(envelope.field("SigningCertUrl")?);
        let url = url.ok_or("missing_certificate_url")?.into_owned();
        if !hosts.allow_certificate(&url) {
            return Err("certificate_url_not_allowed");
        }
        Ok(Self { scheme, algorithm, published, signature, text: signed_text(envelope)?, url })
    }

    fn judge(
        &self,
        spec: &SourceSpec,
        hosts: Hosts,
        fetched: Option<&Certificate>,
    ) -> Result<Authentication, Authentication> {
        let refuse = |reason| Authentication::refused(self.scheme, reason);
        let is_pinned = is_pinned(spec) || hosts == Hosts::Unknown;
        let pinned: Vec<Certificate> = spec
            .certificates
            .get(&self.url)
            .into_iter()
            .chain(&spec.secrets)
            .filter_map(|pem| Certificate::read_pem(pem).ok())
            .collect();
        let candidates: Vec<&Certificate> =
            if is_pinned { pinned.iter().collect() } else { fetched.into_iter().collect() };
        if candidates.is_empty() {
            let (wanted, reason) = match is_pinned {
                true => (Wanted::Pinned, "certificate_not_pinned"),
                false => (Wanted::Fetched(self.url.clone()), "certificate_not_at_hand"),
            };
            return Err(Authentication { wanted: Some(wanted), ..refuse(reason) });
        }
        // The time of signing counts, which freshness ties to now.
        let valid = candidates.iter().filter(|certificate| certificate.is_valid_at(self.published));
        let mut reason = "certificate_expired";
        for certificate in valid {
            if certificate.verifies(self.algorithm, self.text.as_bytes(), &self.signature) {
                return Ok(Authentication::passed(self.scheme));
            }
            reason = "wrong_signature";
        }
        Err(refuse(reason))
    }
}

/// The text that was signed: names and decoded values, each on a line of its own.
fn signed_text(envelope: &Envelope<'_>) -> Result<String, &'static str> {
    let names = match envelope.purpose {
        Purpose::Notification => OF_NOTIFICATION,
        Purpose::SubscriptionConfirmation | Purpose::UnsubscribeConfirmation => OF_CONFIRMATION,
    };
    let mut text = String::with_capacity(1_024);
    for name in names {
        let value = match *name {
            "Subject" => match envelope.field(name)? {
                Some(subject) => subject,
                None => continue,
            },
            name => envelope.required(name)?,
        };
        // No sender breaks lines there, and a line that is broken could pass for the next field.
        if *name != "Message" && value.contains(['\n', '\r']) {
            return Err("malformed_envelope");
        }
        for part in [*name, "\n", &value, "\n"] {
            text.push_str(part);
        }
    }
    Ok(text)
}

/// Checks a source whose webhooks come by SNS.
pub(crate) fn check_source(spec: &SourceSpec, hosts: Hosts) -> Result<(), SourceError> {
    verify::check_values(spec)?;
    let error = |text: String| Err(SourceError(text));
    if let Some(topic) = spec.topics.iter().find(|topic| !is_topic(topic)) {
        return error(format!(
            "`topics` holds {topic:?}, which is no topic's ARN: write arn:aws:sns:REGION:ACCOUNT:NAME, as the topic's page shows it"
        ));
    }
    for (url, pem) in &spec.certificates {
        if !hosts.allow_certificate(url) {
            return error(format!(
                "`certificates` holds the URL {url:?}, from which no certificate is taken: write it as it stands in SigningCertURL, https://sns.REGION.amazonaws.com/NAME.pem"
            ));
        }
        Certificate::read_pem(pem)
            .map_err(|reason| SourceError(format!("`certificates` cannot use what stands for {url}: {reason}")))?;
    }
    if let Some(reason) = spec.secrets.iter().find_map(|pem| Certificate::read_pem(pem).err()) {
        return error(format!(
            "`secrets` may hold nothing but signing certificates, as what comes by SNS is signed with a certificate and not with a secret: {reason}"
        ));
    }
    match (spec.topics.is_empty(), is_pinned(spec), verify::asks_static(spec) || spec.unauthenticated) {
        (true, true, _) => error(
            "a signature proves only that some topic sent it, and anybody can have one: list yours in `topics`".to_owned(),
        ),
        (true, false, false) => error(
            "nothing proves its requests: list the topics that may send in `topics`, or set `basic_auth`, `bearer` or `headers` (or `unauthenticated = true`, if the endpoint is closed off by other means)"
                .to_owned(),
        ),
        (false, false, _) if hosts == Hosts::Unknown => error(
            "`topics` alone cannot be checked: add the signing certificate to `certificates`, under its SigningCertURL".to_owned(),
        ),
        _ => Ok(()),
    }
}

/// `arn:PARTITION:sns:REGION:ACCOUNT:NAME`.
fn is_topic(arn: &str) -> bool {
    let parts: Vec<&str> = arn.split(':').collect();
    let plain = arn.len() <= 512 && arn.bytes().all(|byte| byte.is_ascii_graphic());
    plain
        && matches!(parts[..], ["arn", partition, "sns", region, account, name] if ![partition, region, account, name].contains(&""))
}
