//! AWS Signature Version 4, as far as a JSON API without parameters in its query needs it.
//!
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>. Paths are encoded a
//! second time, as every service but S3 wants it.

use domain::Timestamp;
use ring::{digest, hmac};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Whose keys, and for what.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) key_id: &'a str,
    pub(super) secret: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// What is signed of a request. `path` and `query` are as they stand in the URL, encoded; header names in lower case.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

/// The time as `x-amz-date` has it: `20150830T123600Z`.
pub(super) fn amz_date(now: Timestamp) -> String {
    let seconds = Timestamp::from_seconds(now.as_seconds()).unwrap_or(Timestamp::EPOCH);
    seconds.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

/// The value of `Authorization`; the headers have `x-amz-date` of the same `date` among them.
pub(super) fn authorization(keys: Keys<'_>, request: &Signed<'_>, date: &str) -> String {
    let mut headers = request.headers.to_vec();
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let canonical = canonical(request, &headers, &names);
    let day = date.get(..8).unwrap_or(date);
    let scope = format!("{day}/{}/{}/aws4_request", keys.region, keys.service);
    let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let mut key = mac(format!("AWS4{}", keys.secret).as_bytes(), day);
    for part in [keys.region, keys.service, "aws4_request"] {
        key = mac(key.as_ref(), part);
    }
    let signature = hex::encode(mac(key.as_ref(), &to_sign));
    format!("{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", keys.key_id)
}

fn canonical(request: &Signed<'_>, headers: &[(&str, &str)], names: &str) -> String {
    let path: Vec<String> = request.path.split('/').map(crate::suppression_api::encoded).collect();
    let mut parameters: Vec<&str> = request.query.split('&').filter(|pair| !pair.is_empty()).collect();
    parameters.sort_unstable();
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let body = sha256(request.body);
    format!("{}\n{}\n{}\n{lines}\n{names}\n{body}", request.method, path.join("/"), parameters.join("&"))
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AWS's own examples: the test suite of the signature, and the request to IAM in the documentation.
    #[track_caller]
    fn check(service: &str, request: &Signed<'_>, names: &str, signature: &str) {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let keys = Keys { key_id: "AKIDEXAMPLE", secret, region: "us-east-1", service };
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, SignedHeaders={names}, Signature={signature}"
        );
        assert_eq!(authorization(keys, request, "20150830T123600Z"), expected);
    }

    #[test]
    fn signs_as_aws_documents_it() {
        let at = ("x-amz-date", "20150830T123600Z");
        let host = ("host", "example.amazonaws.com");
        let form = "application/x-www-form-urlencoded";
        let plain = |method, query| Signed { method, path: "/", query, headers: &[], body: b"" };
        let headers = [at, host];
        check(
            "service",
            &Signed { headers: &headers, ..plain("GET", "") },
            "host;x-amz-date",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        );
        check(
            "service",
            &Signed { headers: &headers, ..plain("GET", "Param2=value2&Param1=value1") },
            "host;x-amz-date",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        );
        let headers = [host, at, ("content-type", form)];
        check(
            "service",
            &Signed { headers: &headers, body: b"Param1=value1", ..plain("POST", "") },
            "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        );
        let utf8 = format!("{form}; charset=utf-8");
        let headers = [("host", "iam.amazonaws.com"), at, ("content-type", utf8.as_str())];
        check(
            "iam",
            &Signed { headers: &headers, ..plain("GET", "Action=ListUsers&Version=2010-05-08") },
            "content-type;host;x-amz-date",
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        );
    }

    #[test]
    fn paths_are_encoded_again_and_times_are_short() {
        let request = Signed { method: "GET", path: "/v2/a%2Bb%40example.com", query: "", headers: &[], body: b"" };
        assert!(canonical(&request, &[], "").starts_with("GET\n/v2/a%252Bb%2540example.com\n\n"));
        let at = Timestamp::parse_rfc3339("2015-08-30T12:36:00.123456Z").unwrap();
        assert_eq!(amz_date(at), "20150830T123600Z");
    }
}
