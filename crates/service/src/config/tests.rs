use super::*;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Root {
    #[serde(default)]
    gateway: Gateway,
    #[serde(default)]
    sources: Vec<Source>,
    #[serde(default)]
    names: BTreeMap<String, String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Gateway {
    listen: String,
    timeout_ms: u64,
    labels: Vec<String>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8080".into(), timeout_ms: 500, labels: Vec::new() }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    provider: String,
    #[serde(default)]
    secrets: Vec<Secret>,
}

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Root, String> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    parse("quell.toml", text, variables).map_err(|error| error.to_string())
}

#[test]
fn reads_the_file_and_the_environment_over_it() {
    let text = "[gateway]\nlisten = \"a\"\n[[sources]]\nprovider = \"drip\"\n";
    let root = read(
        text,
        &[
            ("QUELL__GATEWAY__LISTEN", "0.0.0.0:80"),
            ("QUELL__gateway__timeout_ms", "20"),
            ("QUELL__GATEWAY__LABELS", "[\"x\", \"y\"]"),
            ("QUELL__SOURCES__0__PROVIDER", "twilio"),
            ("QUELL__NAMES__NUMBER", "\"8\""),
            ("OTHER__GATEWAY__LISTEN", "ignored"),
        ],
    )
    .unwrap();
    let expected = Gateway { listen: "0.0.0.0:80".into(), timeout_ms: 20, labels: vec!["x".into(), "y".into()] };
    assert_eq!(root.gateway, expected);
    assert_eq!(root.sources[0].provider, "twilio");
    assert_eq!(root.names["number"], "8");
    assert_eq!(read("", &[]).unwrap().gateway, Gateway::default());
}

#[test]
fn errors_name_the_place_and_what_would_be_right() {
    let check = |text: &str, variables: &[(&str, &str)], expected: &str| {
        assert_eq!(read(text, variables).unwrap_err(), expected, "{text}");
    };
    check("\n[gateway]\nlisen = \"a\"\n", &[], "quell.toml:3: unknown key `lisen`, did you mean `listen`?");
    check("[gatway]\n", &[], "quell.toml:1: unknown key `gatway`, did you mean `gateway`?");
    check(
        "[gateway]\ncolour = 1\n",
        &[],
        "quell.toml:2: unknown key `colour`, expected one of: listen, timeout_ms, labels",
    );
    check("[[sources]]\nsecrets = []\n", &[], "quell.toml:1: missing key `provider`");
    check("[gateway]\ntimeout_ms = -1\n", &[], "quell.toml:2: invalid value: integer `-1`, expected u64");
    check("[gateway]\nlabels = \"s3cret\"\n", &[], "quell.toml:2: found text, expected a sequence");
    check("[gateway\n", &[], "quell.toml:1: unclosed table, expected `]`");
    check(
        "[gateway]\nlisten = \"a\"",
        &[("QUELL__GATEWAY__TIMEOUT_MS", "soon")],
        "environment variable QUELL__GATEWAY__TIMEOUT_MS: found text, expected u64",
    );
    check(
        "",
        &[("QUELL__A", "1"), ("QUELL__GATEWAY__LISEN", "x")],
        "environment variable QUELL__A: unknown key `a`, expected one of: gateway, sources, names",
    );
    check(
        "",
        &[("QUELL__GATEWAY__LISEN", "x")],
        "environment variable QUELL__GATEWAY__LISEN: unknown key `lisen`, did you mean `listen`?",
    );
    check(
        "[[sources]]\nprovider = \"a\"",
        &[("QUELL__SOURCES__1__PROVIDER", "x")],
        "environment variable QUELL__SOURCES__1__PROVIDER: reaches into a list of 1: the next part of the name must be a number from 0 to 0",
    );
    check(
        "[gateway]\nlisten = \"a\"",
        &[("QUELL__GATEWAY__LISTEN__X", "x")],
        "environment variable QUELL__GATEWAY__LISTEN__X: `listen` is a single value, not a section",
    );
    check("", &[("QUELL__", "x")], "environment variable QUELL__: names no key: write QUELL__section__key");
}

#[test]
fn secrets_are_followed_from_references_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "s3cret-of-the-file\n").unwrap();
    let text =
        format!("[[sources]]\nprovider = \"drip\"\nsecrets = [\"file:{}\", \"env:CARGO_PKG_NAME\"]\n", file.display());
    let root = read(&text, &[]).unwrap();
    let exposed: Vec<_> = root.sources[0].secrets.iter().map(Secret::expose).collect();
    assert_eq!(exposed, ["s3cret-of-the-file", "service"]);
    let shown = format!("{root:?} {} {}", print(&root).unwrap(), root.sources[0].secrets[0]);
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(print(&root).unwrap().contains("\"***\""), "{shown}");
}

#[test]
fn a_secret_that_stands_in_the_file_is_refused_without_repeating_it() {
    let literal = read("[[sources]]\nprovider = \"drip\"\nsecrets = [\"s3cret\"]\n", &[]).unwrap_err();
    assert_eq!(
        literal,
        "quell.toml:3: a secret must not stand here itself: write a reference, \"env:NAME\" or \"file:PATH\""
    );
    let missing = read("[[sources]]\nprovider = \"drip\"\nsecrets = [\"env:QUELL_NO_SUCH\"]\n", &[]).unwrap_err();
    assert_eq!(missing, "quell.toml:3: the environment variable QUELL_NO_SUCH is not set, or is not text");
    let gone = read("[[sources]]\nprovider = \"drip\"\nsecrets = [\"file:/no/such/file\"]\n", &[]).unwrap_err();
    assert!(gone.starts_with("quell.toml:3: cannot read the secret's file /no/such/file"), "{gone}");
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let error = load_with::<Root>(Some(Path::new("/no/such/quell.toml")), []).unwrap_err();
    assert!(error.to_string().starts_with("cannot read /no/such/quell.toml"), "{error}");
}
