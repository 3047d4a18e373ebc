//! Project Wycheproof's vectors (<https://github.com/C2SP/wycheproof>) through the functions that verify: known ways to get
//! cryptography wrong, and what is right at its edges.
//!
//! Keys, signatures and tags go through our own reading of base64, hex and DER, as they come in from configuration and
//! requests. What cannot be read is refused, and so must be an invalid vector.

use super::{ecdsa, hmac, rsa};
use ::wycheproof::TestResult;
use ::wycheproof::ecdsa::{TestName as EcdsaName, TestSet as EcdsaSet};
use ::wycheproof::mac::{TestName as MacName, TestSet as MacSet};
use ::wycheproof::rsa_pkcs1_verify::{TestName as RsaName, TestSet as RsaSet};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::RsaParameters;

/// How many vectors of each sort a set has.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    valid: usize,
    invalid: usize,
    acceptable: usize,
}

impl Counts {
    /// Compares a verdict with the right one. What Wycheproof calls acceptable is legacy that a verifier may take or leave:
    /// we leave it, so that one signature has one form.
    #[track_caller]
    fn check(&mut self, result: TestResult, verdict: bool, what: &str) {
        let (count, right) = match result {
            TestResult::Valid => (&mut self.valid, true),
            TestResult::Invalid => (&mut self.invalid, false),
            TestResult::Acceptable => (&mut self.acceptable, false),
        };
        *count += 1;
        assert_eq!(verdict, right, "{what}");
    }
}

#[test]
fn ecdsa_p256_sha256() {
    let set = EcdsaSet::load(EcdsaName::EcdsaSecp256r1Sha256).unwrap();
    let mut counts = Counts::default();
    for group in &set.test_groups {
        let key = STANDARD.encode(&group.der);
        let armoured = &group.pem;
        for test in &group.tests {
            let what = format!("vector {}: {}", test.tc_id, test.comment);
            let verdict = ecdsa::matches(std::slice::from_ref(&key), &test.msg, &test.sig);
            assert_eq!(verdict, ecdsa::matches(std::slice::from_ref(armoured), &test.msg, &test.sig), "{what}");
            counts.check(test.result, verdict, &what);
        }
    }
    assert_eq!(counts.acceptable, 0);
    assert!(counts.valid > 100 && counts.invalid > 100, "{counts:?}");
}

/// Other curves, other hashes and the other form of a signature (two numbers, no DER) never pass for ours.
#[test]
fn ecdsa_of_other_kinds() {
    use EcdsaName::{EcdsaSecp256k1Sha256, EcdsaSecp256r1Sha256P1363, EcdsaSecp256r1Sha512, EcdsaSecp384r1Sha256};
    for name in [EcdsaSecp256k1Sha256, EcdsaSecp256r1Sha256P1363, EcdsaSecp256r1Sha512, EcdsaSecp384r1Sha256] {
        let set = EcdsaSet::load(name).unwrap();
        let mut count = 0;
        for group in &set.test_groups {
            let key = [STANDARD.encode(&group.der)];
            for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
                assert!(!ecdsa::matches(&key, &test.msg, &test.sig), "{name:?} {}", test.tc_id);
                count += 1;
            }
        }
        assert!(count > 0, "{name:?}");
    }
}

fn rsa_set(name: RsaName, algorithm: &'static RsaParameters) -> Counts {
    let set = RsaSet::load(name).unwrap();
    let mut counts = Counts::default();
    for group in &set.test_groups {
        let keys = [STANDARD.encode(&group.der)];
        let armoured = [group.pem.clone()];
        for test in &group.tests {
            let what = format!("{name:?} vector {}: {}", test.tc_id, test.comment);
            let verdict = |keys: &[String]| {
                rsa::base64_signature(&STANDARD.encode(&test.sig))
                    .is_some_and(|signature| rsa::matches(algorithm, keys, &test.msg, &signature))
            };
            assert_eq!(verdict(&keys), verdict(&armoured), "{what}");
            counts.check(test.result, verdict(&keys), &what);
        }
    }
    counts
}

#[test]
fn rsa_pkcs1_sha256() {
    for name in [RsaName::Rsa2048Sha256, RsaName::Rsa3072Sha256, RsaName::Rsa4096Sha256, RsaName::Rsa8192Sha256] {
        let counts = rsa_set(name, rsa::SHA256);
        assert!(counts.valid > 0 && counts.invalid > 100, "{name:?} {counts:?}");
        // Padding without the NULL parameters of the hash's name.
        assert!(counts.acceptable <= 1, "{name:?} {counts:?}");
    }
}

/// Wycheproof has no set for SHA-1, but in the sets for other hashes a vector that was signed with it: the only one that
/// passes for it. The same goes for SHA-256.
#[test]
fn rsa_pkcs1_sha1_and_other_hashes() {
    for name in [RsaName::Rsa2048Sha256, RsaName::Rsa2048Sha224, RsaName::Rsa2048Sha512] {
        let set = RsaSet::load(name).unwrap();
        let (mut others, mut with_sha1) = (0, 0);
        for group in &set.test_groups {
            let keys = [STANDARD.encode(&group.der)];
            for test in &group.tests {
                let is_sha1 = test.comment.starts_with("The message is hashed with SHA-1 instead of");
                let what = format!("{name:?} vector {}: {}", test.tc_id, test.comment);
                assert_eq!(rsa::matches(rsa::SHA1, &keys, &test.msg, &test.sig), is_sha1, "{what}");
                with_sha1 += usize::from(is_sha1);
                if name != RsaName::Rsa2048Sha256 {
                    let is_sha256 = test.comment.starts_with("The message is hashed with SHA-256 instead of");
                    assert_eq!(rsa::matches(rsa::SHA256, &keys, &test.msg, &test.sig), is_sha256, "{what}");
                    others += usize::from(test.result == TestResult::Valid);
                }
            }
        }
        assert_eq!(with_sha1, 1, "{name:?}");
        assert!(others > 0 || name == RsaName::Rsa2048Sha256, "{name:?}");
    }
}

/// A whole tag must be given: the shortened ones of a set are right by RFC 2104, and refused here.
fn hmac_set<const BYTES: usize>(name: MacName, algorithm: ring::hmac::Algorithm) -> (Counts, usize) {
    let set = MacSet::load(name).unwrap();
    let (mut counts, mut shortened) = (Counts::default(), 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let what = format!("{name:?} vector {}: {}", test.tc_id, test.comment);
            let verdict = |tag: Option<[u8; BYTES]>| {
                tag.is_some_and(|tag| {
                    // In one part and in two: signed texts are put together from parts.
                    let (head, tail) = test.msg.split_at(test.msg.len() / 2);
                    let whole = hmac::matches_key(algorithm, &test.key, &[&test.msg], &tag);
                    assert_eq!(whole, hmac::matches_key(algorithm, &test.key, &[head, tail], &tag), "{what}");
                    whole
                })
            };
            let by_hex = verdict(hmac::hex_tag(&hex::encode(&test.tag[..])));
            assert_eq!(by_hex, verdict(hmac::hex_tag(&hex::encode_upper(&test.tag[..]))), "{what}");
            if BYTES <= 48 {
                assert_eq!(by_hex, verdict(hmac::base64_tag(&STANDARD.encode(&test.tag))), "{what}");
            }
            if let Ok(secret) = String::from_utf8(test.key.to_vec())
                && !secret.is_empty()
                && let Some(tag) = hmac::hex_tag::<BYTES>(&hex::encode(&test.tag[..]))
            {
                assert_eq!(by_hex, hmac::matches(algorithm, &[secret], &[&test.msg], &tag), "{what}");
            }
            if group.tag_size == BYTES * 8 {
                counts.check(test.result, by_hex, &what);
            } else {
                assert!(!by_hex, "{what}");
                shortened += 1;
            }
        }
    }
    (counts, shortened)
}

#[test]
fn hmacs() {
    let check = |(counts, shortened): (Counts, usize)| {
        assert!(counts.valid > 10 && counts.invalid > 10 && shortened > 10, "{counts:?} {shortened}");
        assert_eq!(counts.acceptable, 0);
    };
    check(hmac_set::<20>(MacName::HmacSha1, hmac::SHA1));
    check(hmac_set::<32>(MacName::HmacSha256, hmac::SHA256));
    // Of declared adapters, by the same function.
    check(hmac_set::<64>(MacName::HmacSha512, ring::hmac::HMAC_SHA512));
}
