//! ECDSA on P-256 with SHA-256, the signature as ASN.1 DER, the key as a SubjectPublicKeyInfo (RFC 5480).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

/// What stands before the point in the DER of every uncompressed P-256 SubjectPublicKeyInfo: two sequences, the object
/// identifiers of id-ecPublicKey and prime256v1, and the head of the bit string.
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT_BYTES: usize = 65;

/// The uncompressed point of a key written as base64 of its DER, with or without PEM armour.
pub(crate) fn point(key: &str) -> Option<[u8; POINT_BYTES]> {
    let mut text = [0_u8; 256];
    let mut length = 0;
    let body = key.split("-----").find(|part| part.trim_start().starts_with("MFkw"))?;
    for byte in body.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        *text.get_mut(length)? = byte;
        length += 1;
    }
    let mut der = [0_u8; 192];
    let length = STANDARD.decode_slice(text.get(..length)?, &mut der).ok()?;
    der.get(..length)?.strip_prefix(&SPKI_HEAD)?.try_into().ok()
}

/// Whether a DER signature over a message is right under any of the keys. Text that is no key never matches.
pub(crate) fn matches(keys: &[String], message: &[u8], signature: &[u8]) -> bool {
    keys.iter()
        .filter_map(|key| point(key))
        .any(|point| UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok())
}
