//! RSASSA-PKCS1-v1_5 (RFC 8017 8.2) with SHA-1 or SHA-256, the key as a SubjectPublicKeyInfo (RFC 3279 2.3.1).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::{
    RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RsaParameters,
    UnparsedPublicKey,
};

/// With SHA-1, for senders that have nothing better: forging a signature needs a second preimage, not a mere collision.
pub(crate) static SHA1: &RsaParameters = &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY;
/// With SHA-256. Keys from 1,024 bits, as old installations still have them.
pub(crate) static SHA256: &RsaParameters = &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;

/// A key of 8,192 bits has 1,062 bytes of DER.
const KEY_BYTES_MAX: usize = 2_048;
/// A signature of 8,192 bits.
const SIGNATURE_BYTES_MAX: usize = 1_024;

/// `AlgorithmIdentifier` of rsaEncryption with its NULL parameters.
const RSA_ENCRYPTION: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
pub(super) const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// The PKCS #1 `RSAPublicKey` of a key written as base64 of its SubjectPublicKeyInfo: bare, with PEM armour, or as the `p=` of
/// a DKIM record.
pub(crate) fn key(text: &str) -> Option<Vec<u8>> {
    let body = match text.split_once("p=") {
        Some((_, rest)) => rest.split(';').next()?,
        None => text.split("-----").find(|part| part.trim_start().starts_with("MI"))?,
    };
    let base64: String =
        body.chars().filter(|c| !c.is_ascii_whitespace() && *c != '"').take(2 * KEY_BYTES_MAX).collect();
    let der = STANDARD.decode(base64).ok()?;
    let (content, rest) = read(SEQUENCE, &der)?;
    if rest.is_empty() { public_key(content).map(<[u8]>::to_owned) } else { None }
}

/// The PKCS #1 `RSAPublicKey` in the content of a SubjectPublicKeyInfo.
pub(super) fn public_key(info: &[u8]) -> Option<&[u8]> {
    let (bits, end) = read(BIT_STRING, info.strip_prefix(&RSA_ENCRYPTION)?)?;
    // The first byte of a bit string counts the bits that are left over.
    let key = bits.strip_prefix(&[0])?;
    let (_, after) = read(SEQUENCE, key)?;
    (end.is_empty() && after.is_empty()).then_some(key)
}

/// Whether a signature over a message is right under any of the keys. Text that is no key never matches.
pub(crate) fn matches(algorithm: &'static RsaParameters, keys: &[String], message: &[u8], signature: &[u8]) -> bool {
    keys.iter()
        .filter_map(|text| key(text))
        .any(|key| UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok())
}

/// Decodes a signature from padded base64.
pub(crate) fn base64_signature(text: &str) -> Option<Vec<u8>> {
    if text.len() > SIGNATURE_BYTES_MAX.div_ceil(3) * 4 {
        return None;
    }
    STANDARD.decode(text).ok().filter(|signature| !signature.is_empty())
}

/// One DER value of a tag (X.690 8.1): its content and what follows.
pub(super) fn read(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.strip_prefix(&[tag])?.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(*rest.first()?) << 8 | usize::from(*rest.get(1)?), rest.get(2..)?),
        _ => return None,
    };
    (length <= rest.len()).then(|| rest.split_at(length))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A key of 1,024 bits, made for these tests, and its signatures over [`MESSAGE`].
    pub(crate) const KEY: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDl0L2hUYjt5C8xhvoCQEixh2uueHIszGEczitQRmPF2zfFlyGw1yGJgqLPryjkTuoHNVUZQtuw2yHmDD1l8fvpwFjVk0CGpzDLgXRu6T7mQeGgAksT5+Veg5EULqASu0S8m8q54kcie1KTiNpMUCWFxpSYxPlxmV4yzPFq1zfQlwIDAQAB";
    /// A key of 2,048 bits that signed nothing.
    pub(crate) const OTHER: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr6rIhQfYcB7FilO8oFitBVr9XC2gTMP7/N+spMn479UHWqFExrGvfIz3/iOhWNHUDhO4ocwk26j1l2CasVvlMVgkkqpGdJ1J7uasBOH3Eu7SjhniNa1bwrjV7of1L8W2MTHEI8ay5BkGFvw2CsNGVVyLu9GBd01SJno6v585NsZzr7j6Dt6UPdeNeEwtmBeJaMjQZGpCSdZw5KyCHpX4aclfxGGrtd0CF/hPnem/n/l1LXaKnEcueLmtWLq9UKWUJC1cYZBKdOytUgJ5LrlrhaJLOkBvxZbRWGUpUwiD/7lDEvcylHuIhXXyj4riXIxefimrofg3/VP9LIe2W8R0CQIDAQAB";
    pub(crate) const MESSAGE: &[u8] = br#"{"event":"MessageSent"}"#;
    pub(crate) const BY_SHA256: &str = "d9WjZ+Qd3yUtopuu+Hrx7toB1A/T6ntUM7Uk7gfTQihrmX5OC/KgcZmSRJ08iSTmYyZNqJPPNjN4cjSwSvlj6OoTRqhTSJXInRbDlOCGDA33TIngEP6HytYsOcdgFWEvgQq03yg09hmNk0HV/XYV4Ch55yy+Du5DtILeYtD2wzw=";
    pub(crate) const BY_SHA1: &str = "wgl0zvfBgzQ2RWptYAufg7/1o4lTanhYnHw+QlgCuNixWZzVDuleyM2Yz7NviImXzn/I9/j5S8JypxSi+1Ehqr/3ukL6XC4b85ijsdUkmvde0k/fqEk9PDvUqftY8Z0h4gVCPX+CcLoCEe73SnWI+4kExFZK1KyUSCkAZVJeVYY=";

    #[test]
    fn keys_in_every_form() {
        let bare = key(KEY).unwrap();
        let armoured =
            format!("-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n", &KEY[..64], &KEY[64..]);
        assert_eq!(key(&armoured), Some(bare.clone()));
        assert_eq!(key(&format!("postal._domainkey IN TXT \"v=DKIM1; t=s; h=sha256; p={KEY};\"")), Some(bare.clone()));
        assert_eq!(key(&format!(" {KEY}\n")), Some(bare));
        assert_eq!(key(OTHER).unwrap().len(), 270);
        let cut = STANDARD.encode(&STANDARD.decode(KEY).unwrap()[..150]);
        let mut longer = STANDARD.decode(KEY).unwrap();
        longer.push(0);
        for wrong in ["", "p=", "MI", "secret", "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE", &cut, &STANDARD.encode(longer)]
        {
            assert_eq!(key(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn signatures() {
        let (sha256, sha1) = (base64_signature(BY_SHA256).unwrap(), base64_signature(BY_SHA1).unwrap());
        let keys = [OTHER.to_owned(), "none".to_owned(), KEY.to_owned()];
        assert!(matches(SHA256, &keys, MESSAGE, &sha256));
        assert!(matches(SHA1, &keys, MESSAGE, &sha1));
        assert!(!matches(SHA256, &keys, MESSAGE, &sha1) && !matches(SHA1, &keys, MESSAGE, &sha256));
        assert!(!matches(SHA256, &keys[..2], MESSAGE, &sha256));
        assert!(!matches(SHA256, &keys, b"{}", &sha256));
        assert!(!matches(SHA256, &keys, MESSAGE, &sha256[..127]));
        assert!(base64_signature("").is_none() && base64_signature(&"A".repeat(1_372)).is_none());
    }
}
