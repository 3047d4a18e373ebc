//! The image's recipe, read as its builder reads it. Nothing here can build it: the stages, the user, what is copied, and
//! what the binary links are checked instead.

use crate::{
    binary::Deployed,
    tools::{file, root, said},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

/// Instructions of a Dockerfile, with what is continued on one line.
fn instructions() -> Vec<(String, String)> {
    let text = file("deploy/container/Dockerfile").replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (word, rest) = line.split_once(' ').expect("an instruction");
            (word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
        })
        .collect()
}

#[test]
fn the_image_is_small_and_nobodys_root() {
    let all = instructions();
    let known =
        ["ARG", "FROM", "RUN", "WORKDIR", "COPY", "LABEL", "USER", "ENV", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"];
    for (word, rest) in &all {
        assert!(known.contains(&word.as_str()), "{word} {rest}");
        // What is fetched is fetched by Debian's packages and cargo, which check it.
        assert!(!rest.contains("curl ") && !rest.contains("wget "), "{rest}");
    }
    let stages: Vec<usize> = (0..all.len()).filter(|at| all[*at].0 == "FROM").collect();
    assert_eq!(stages.len(), 2);
    assert!(all[stages[0]].1.ends_with(" AS build"));
    let last = &all[stages[1]..];
    let of = |word: &str| -> Vec<&str> { last.iter().filter(|one| one.0 == word).map(|one| one.1.as_str()).collect() };
    assert_eq!(of("RUN"), [""; 0], "there is no shell in it");
    let user = of("USER");
    let number: u32 =
        user[0].split(':').next().and_then(|id| id.parse().ok()).expect("a number, so that it can be checked");
    assert!(user.len() == 1 && number >= 1_000, "{user:?}");
    assert_eq!(of("ENTRYPOINT"), ["[\"/usr/bin/quell\"]"]);
    assert_eq!(of("CMD"), ["[\"up\"]"]);
    assert_eq!(of("EXPOSE"), ["8080 8081 9464"]);
    for label in ["title", "description", "licenses", "version", "revision", "base.name"] {
        assert!(of("LABEL")[0].contains(&format!("org.opencontainers.image.{label}=")), "{label}");
    }
    let version = all.iter().find(|one| one.0 == "ARG" && one.1.starts_with("VERSION=")).expect("a version");
    assert_eq!(version.1, format!("VERSION={}", env!("CARGO_PKG_VERSION")));
    // The spool's and the data's volume are its user's from the first.
    let made = all.iter().find(|one| one.1.contains("/out/var/lib/quell/spool")).expect("the folders are made");
    assert!(made.1.contains("/out/var/lib/quell/data"));
    assert!(of("COPY").iter().any(|copy| copy.contains("--chown=65532:65532 /out/var/lib/quell ")));
}

/// What the image sets, but its configuration's path, which a test's own stands for.
fn environment() -> BTreeMap<String, String> {
    let set = instructions().into_iter().filter(|(word, _)| word == "ENV");
    let pairs = set.map(|(_, rest)| rest.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())));
    pairs.map(|pair| pair.expect("NAME=VALUE")).filter(|(name, _)| name != "QUELL_CONFIG").collect()
}

#[test]
fn it_writes_where_it_may_whatever_the_file_says() {
    let made = instructions().into_iter().find(|(word, rest)| word == "RUN" && rest.contains("mkdir -p /out/"));
    let (_, made) = made.expect("the folders are made");
    for name in ["QUELL__data_dir", "QUELL__gateway__spool__directory"] {
        let folder = environment().remove(name).unwrap_or_else(|| panic!("the image does not say {name}"));
        assert!(folder.starts_with("/var/lib/quell/") && made.contains(&format!("/out{folder}")), "{name}: {folder}");
    }
}

#[test]
fn no_image_is_fetched_that_is_not_named() {
    // A parser of the recipe that is itself an image, at whatever version: no build where that registry is out of reach.
    let text = file("deploy/container/Dockerfile");
    assert!(!text.lines().any(|line| line.replace(' ', "").to_ascii_lowercase().starts_with("#syntax=")), "{text}");
}

#[test]
fn the_pages_configuration_starts_it_and_can_be_reached() {
    let page = file("docs/deployment.md");
    let (_, section) = page.split_once("\n## The image\n").expect("a section");
    let (section, _) = section.split_once("\n## ").expect("another section");
    let (_, block) = section.split_once("```toml\n").expect("a configuration");
    let (block, _) = block.split_once("```").expect("its end");
    let config: toml::Table = block.parse().expect("TOML");
    let command = section.lines().collect::<Vec<_>>().join(" ");
    for part in ["gateway", "lookup"] {
        let listen = config[part]["listen"].as_str().expect("a text");
        let port = listen.strip_prefix("0.0.0.0:").unwrap_or_else(|| panic!("{part}: nobody outside reaches {listen}"));
        assert!(command.contains(&format!("{port}:{port} ")), "{part}: {port} is not published");
    }
    let mut deployed = Deployed::new(block, environment());
    deployed.is_sound();
    deployed.starts_alone(&["up".to_owned()]);
}

#[test]
fn what_is_copied_is_there_and_sent() {
    let ignored = file("deploy/container/Dockerfile.dockerignore");
    let sent: BTreeSet<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert_eq!(ignored.lines().find(|line| !line.starts_with('#')), Some("*"), "nothing is sent but what is named");
    // The compose file's secrets lie beside it; the last line that names a file holds.
    let secrets = ignored.lines().position(|line| line == "**/*.env").expect("no secrets are sent");
    assert!(ignored.lines().skip(secrets).all(|line| !line.starts_with('!')), "{ignored}");
    let mut copied = BTreeSet::new();
    for (_, rest) in instructions().into_iter().filter(|(word, rest)| word == "COPY" && !rest.contains("--from=")) {
        let words: Vec<&str> = rest.split(' ').filter(|word| !word.starts_with("--")).collect();
        let (_, sources) = words.split_last().expect("a target");
        for source in sources {
            assert!(root().join(source).exists(), "{source}");
            assert!(sent.contains(source), "{source} is not sent to the build");
            copied.insert((*source).to_owned());
        }
    }
    // Without one of the workspace's folders nothing builds.
    let manifest: toml::Table = file("Cargo.toml").parse().expect("TOML");
    for member in manifest["workspace"]["members"].as_array().expect("members") {
        let folder = member.as_str().expect("a text").trim_end_matches("/*");
        assert!(copied.contains(folder), "{folder} is not copied");
    }
    for stands in ["Cargo.lock", "deploy", "docs"] {
        assert!(copied.contains(stands), "{stands}: parts of it are built into the binary");
    }
}

#[test]
fn the_binary_links_what_the_base_has() {
    // Distroless cc: glibc, libgcc, libstdc++ and OpenSSL 3.
    let base = [
        "libssl.so.3",
        "libcrypto.so.3",
        "libgcc_s.so.1",
        "libm.so.6",
        "libc.so.6",
        "ld-linux-x86-64.so.2",
        "ld-linux-aarch64.so.1",
    ];
    let read = said(Command::new("readelf").arg("-d").arg(env!("CARGO_BIN_EXE_quell"))).expect("readelf reads it");
    let needed: Vec<&str> = read
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split_once('[')?.1.strip_suffix(']'))
        .collect();
    assert!(!needed.is_empty(), "{read}");
    assert!(needed.iter().all(|library| base.contains(library)), "{needed:?}");
    assert!(!read.contains("RUNPATH") && !read.contains("RPATH"), "{read}");
}
