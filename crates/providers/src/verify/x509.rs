//! As much of an X.509 certificate (RFC 5280) as a signature made with its key needs: the RSA key and the period in which
//! it is valid.
//!
//! No chain is followed and no name is looked at. Whoever uses a certificate knows from where it has it: fetched by https
//! from a host that is its owner's, or put into the configuration by hand.

use super::rsa::{self, SEQUENCE, read};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::Timestamp;
use ring::signature::{RsaParameters, UnparsedPublicKey};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// Certificates of one file that are looked at: bundles of roots have some 150.
const CHAIN_MAX: usize = 1_000;
/// The explicit tag around the version.
const VERSION: u8 = 0xa0;

/// A certificate's RSA key and period of validity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// PKCS #1 `RSAPublicKey`.
    key: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// Text that is no certificate that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No PEM of a certificate.
    #[error("it is no certificate as PEM: that begins with -----BEGIN CERTIFICATE----- and has at most 16384 bytes")]
    NotPem,
    /// Not X.509, or not with an RSA key.
    #[error("it is no X.509 certificate with an RSA key")]
    NotRsa,
    /// Not X.509.
    #[error("it is no X.509 certificate")]
    NotX509,
}

impl Certificate {
    /// The longest PEM that is read, in bytes. One certificate has some 2,000, a chain of four some 7,000.
    pub const PEM_BYTES_MAX: usize = 16_384;

    /// Reads the first certificate of a PEM text.
    pub fn read_pem(text: &str) -> Result<Self, CertificateError> {
        let der = (text.len() <= Self::PEM_BYTES_MAX).then(|| der(text)).flatten().ok_or(CertificateError::NotPem)?;
        Self::read_der(&der).ok_or(CertificateError::NotRsa)
    }

    /// When the first certificate of a PEM text that ends does so, whatever their keys are: of a chain each one counts.
    pub fn first_end(text: &str) -> Result<Timestamp, CertificateError> {
        let mut blocks = text.split_inclusive(END).filter(|block| block.contains(BEGIN)).take(CHAIN_MAX).peekable();
        if blocks.peek().is_none() {
            return Err(CertificateError::NotPem);
        }
        let mut first: Option<Timestamp> = None;
        for block in blocks {
            let der = der(block).ok_or(CertificateError::NotPem)?;
            let (_, end) = Parts::read(&der).ok_or(CertificateError::NotX509)?.period;
            first = Some(first.map_or(end, |first| first.min(end)));
        }
        first.ok_or(CertificateError::NotPem)
    }

    /// `Certificate` of RFC 5280, 4.1. What is not needed is passed over.
    fn read_der(der: &[u8]) -> Option<Self> {
        let Parts { period: (not_before, not_after), info } = Parts::read(der)?;
        Some(Self { key: rsa::public_key(info)?.to_owned(), not_before, not_after })
    }

    /// When its validity ends.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether it is valid at a time.
    pub(crate) fn is_valid_at(&self, time: Timestamp) -> bool {
        // The second that is named as the end still belongs to it.
        self.not_before <= time && time.as_seconds() <= self.not_after.as_seconds()
    }

    /// Whether a signature over a message was made with its key.
    pub(crate) fn verifies(&self, algorithm: &'static RsaParameters, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(algorithm, &self.key).verify(message, signature).is_ok()
    }
}

/// What of a certificate does not hang on the kind of its key.
struct Parts<'a> {
    /// Not before, not after.
    period: (Timestamp, Timestamp),
    /// `SubjectPublicKeyInfo`.
    info: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let (certificate, after) = read(SEQUENCE, der)?;
        let (body, _) = read(SEQUENCE, certificate)?;
        let body = read(VERSION, body).map_or(body, |(_, rest)| rest);
        let (_serial, body) = read(INTEGER, body)?;
        let (_algorithm, body) = read(SEQUENCE, body)?;
        let (_issuer, body) = read(SEQUENCE, body)?;
        let (validity, body) = read(SEQUENCE, body)?;
        let (_subject, body) = read(SEQUENCE, body)?;
        let (info, _) = read(SEQUENCE, body)?;
        let (not_before, validity) = time(validity)?;
        let (not_after, end) = time(validity)?;
        (after.is_empty() && end.is_empty()).then_some(Self { period: (not_before, not_after), info })
    }
}

/// The DER of the first certificate in a PEM text (RFC 7468).
fn der(text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(BEGIN)?;
    let (body, _) = rest.split_once(END)?;
    let base64: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(base64).ok()
}

/// A `Time` of RFC 5280, 4.1.2.5, and what follows.
fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (text, rest, century) = match read(GENERALIZED_TIME, der) {
        Some((text, rest)) => (text, rest, ""),
        None => {
            let (text, rest) = read(UTC_TIME, der)?;
            // Two digits of a year: from 50 on the last century is meant.
            (text, rest, if text.first()? >= &b'5' { "19" } else { "20" })
        }
    };
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = format!("{century}{digits}");
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, month, day) = (&text[..4], &text[4..6], &text[6..8]);
    let (hour, minute, second) = (&text[8..10], &text[10..12], &text[12..]);
    let time = Timestamp::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).ok()?;
    Some((time, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = include_str!("../sns/fixtures/signer.pem");

    #[test]
    fn reads_key_and_period() {
        let certificate = Certificate::read_pem(PEM).unwrap();
        assert_eq!(certificate.not_before.to_string(), "2025-01-01T00:00:00Z");
        assert_eq!(certificate.not_after.to_string(), "2035-01-01T00:00:00Z");
        let at = |text: &str| certificate.is_valid_at(text.parse().unwrap());
        assert!(at("2025-01-01T00:00:00Z") && at("2035-01-01T00:00:00.999Z"));
        assert!(!at("2024-12-31T23:59:59.999Z") && !at("2035-01-01T00:00:01Z"));
        // The first of a chain counts.
        let chain = format!("a comment\n{PEM}{}", PEM.replace("MII", "XXX"));
        assert_eq!(Certificate::read_pem(&chain), Ok(certificate));
    }

    #[test]
    fn times() {
        let check = |tag: u8, text: &str, expected: Option<&str>| {
            let der = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            assert_eq!(time(&der).map(|(time, _)| time.to_string()).as_deref(), expected, "{text}");
        };
        check(UTC_TIME, "210907000000Z", Some("2021-09-07T00:00:00Z"));
        check(UTC_TIME, "700101000000Z", Some("1970-01-01T00:00:00Z"));
        check(UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z"));
        check(GENERALIZED_TIME, "20500101000000Z", Some("2050-01-01T00:00:00Z"));
        for wrong in [
            "",
            "Z",
            "2109070000Z",
            "210907000000",
            "21090700000+Z",
            "211307000000Z",
            "2109070000001Z",
            "500101000000Z",
        ] {
            check(UTC_TIME, wrong, None);
        }
        check(GENERALIZED_TIME, "210907000000Z", None);
    }

    #[test]
    fn the_first_end_of_a_chain_counts_whatever_the_keys() {
        let elliptic = include_str!("../sns/fixtures/elliptic.pem");
        let expired = include_str!("../sns/fixtures/expired.pem");
        let end = |text: &str| Certificate::first_end(text).map(|end| end.to_string());
        assert_eq!(end(PEM).as_deref(), Ok("2035-01-01T00:00:00Z"));
        assert_eq!(end(elliptic).as_deref(), Ok("2035-01-01T00:00:00Z"));
        let sooner = end(expired);
        assert!(sooner.as_deref().is_ok_and(|end| end < "2035"), "{sooner:?}");
        assert_eq!(end(&format!("{PEM}\n{expired}{elliptic}")), sooner);
        assert_eq!(end(&format!("{expired}{PEM}")), sooner);
        assert_eq!(end("nothing"), Err(CertificateError::NotPem));
        assert_eq!(end(&format!("{PEM}{BEGIN}\nMIIB\n{END}")), Err(CertificateError::NotX509));
    }

    #[test]
    fn what_is_no_certificate() {
        let check = |text: &str, expected| assert_eq!(Certificate::read_pem(text), Err(expected), "{text:.60}");
        for text in ["", BEGIN, "-----BEGIN PUBLIC KEY-----\nMIGf\n-----END PUBLIC KEY-----"] {
            check(text, CertificateError::NotPem);
        }
        check(&format!("{BEGIN}\n%%%\n{END}"), CertificateError::NotPem);
        check(&format!("{}{PEM}", " ".repeat(Certificate::PEM_BYTES_MAX)), CertificateError::NotPem);
        check(&format!("{BEGIN}\n{END}"), CertificateError::NotRsa);
        check(&format!("{BEGIN}\n{}\n{END}", super::super::rsa::tests::KEY), CertificateError::NotRsa);
        check(include_str!("../sns/fixtures/elliptic.pem"), CertificateError::NotRsa);
        // Cut anywhere, it is none.
        let whole = der(PEM).unwrap();
        for length in 0..whole.len() {
            assert_eq!(Certificate::read_der(&whole[..length]), None, "{length}");
        }
    }
}
