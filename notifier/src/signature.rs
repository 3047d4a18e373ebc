//! Signatures of webhooks out, as Standard Webhooks writes them: HMAC-SHA256 over `id.timestamp.body`, one for each active
//! secret. Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;
use std::fmt;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a key, after the specification.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets that are active at once: the old one, the new one, and room for those who rotate often.
const SECRETS_MAX: usize = 8;

/// Secrets that cannot sign. Never holds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nothing to sign with.
    #[error("`secrets` is empty: name at least one, made e.g. by: echo whsec_$(openssl rand -base64 32)")]
    None,
    /// Each one makes the header longer.
    #[error("more than 8 `secrets` are active: take the old ones out")]
    TooMany,
    /// Not of the form that receivers' libraries read.
    #[error("secret {0} of `secrets` is not whsec_ and base64: make one by: echo whsec_$(openssl rand -base64 32)")]
    Form(usize),
    /// Too short to be safe, or longer than libraries take.
    #[error("secret {0} of `secrets` has not 24 to 64 bytes: make one by: echo whsec_$(openssl rand -base64 32)")]
    Length(usize),
}

/// Signs for one receiver.
#[derive(Clone)]
pub struct Signer {
    keys: Vec<hmac::Key>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("keys", &self.keys.len()).finish()
    }
}

impl Signer {
    /// Of secrets as `whsec_BASE64`. All of them sign, so that a receiver may change from one to the next when it likes.
    pub fn new(secrets: &[impl AsRef<str>]) -> Result<Self, SecretError> {
        if secrets.is_empty() {
            return Err(SecretError::None);
        }
        if secrets.len() > SECRETS_MAX {
            return Err(SecretError::TooMany);
        }
        let keys = secrets.iter().enumerate().map(|(index, secret)| key(index + 1, secret.as_ref()));
        Ok(Self { keys: keys.collect::<Result<_, _>>()? })
    }

    /// The three headers of a webhook that goes out at this second.
    pub fn headers(&self, id: &str, unix_seconds: i64, body: &[u8]) -> [(&'static str, String); 3] {
        let time = unix_seconds.to_string();
        let signatures: Vec<String> = self.keys.iter().map(|key| sign(key, id, &time, body)).collect();
        [("webhook-id", id.to_owned()), ("webhook-timestamp", time), ("webhook-signature", signatures.join(" "))]
    }
}

fn key(number: usize, secret: &str) -> Result<hmac::Key, SecretError> {
    let encoded = secret.trim().strip_prefix(PREFIX).ok_or(SecretError::Form(number))?;
    let bytes = STANDARD.decode(encoded).map_err(|_| SecretError::Form(number))?;
    if !KEY_BYTES.contains(&bytes.len()) {
        return Err(SecretError::Length(number));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn sign(key: &hmac::Key, id: &str, time: &str, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    for part in [id.as_bytes(), b".", time.as_bytes(), b".", body] {
        context.update(part);
    }
    format!("v1,{}", STANDARD.encode(context.sign().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_the_published_vector_says() {
        let signer = Signer::new(&["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]).unwrap();
        let headers = signer.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(headers[0], ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned()));
        assert_eq!(headers[1], ("webhook-timestamp", "1614265330".to_owned()));
        assert_eq!(headers[2], ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned()));
    }

    #[test]
    fn every_active_secret_signs() {
        let (old, new) = (format!("whsec_{}", STANDARD.encode([1; 32])), format!("whsec_{}", STANDARD.encode([2; 32])));
        let [_, _, (_, both)] = Signer::new(&[&old, &new]).unwrap().headers("id", 1, b"{}");
        let alone = |secret: &str| Signer::new(&[secret]).unwrap().headers("id", 1, b"{}")[2].1.clone();
        assert_eq!(both, format!("{} {}", alone(&old), alone(&new)));
    }

    #[test]
    fn what_is_no_secret_is_told_without_showing_it() {
        let check = |secrets: &[&str], expected: SecretError| {
            let error = Signer::new(secrets).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("c2hvcnQ"), "{error}");
        };
        let good = format!("whsec_{}", STANDARD.encode([7; 24]));
        check(&[], SecretError::None);
        check(&[good.as_str(); 9], SecretError::TooMany);
        check(&[&good, "plain"], SecretError::Form(2));
        check(&["whsec_***"], SecretError::Form(1));
        check(&["whsec_c2hvcnQ="], SecretError::Length(1));
        assert!(Signer::new(&[format!("{good}\n")]).is_ok());
    }
}
