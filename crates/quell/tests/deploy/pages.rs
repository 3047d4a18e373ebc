//! What the operators' pages say, held to the binary: every command that they show is one, every file they name is there.

use crate::{
    binary::quell,
    tools::{file, root, said},
};

const PAGES: [&str; 5] = ["deployment", "backup", "upgrade", "capacity", "erasure"];

/// The lines within fences of a page.
fn code(page: &str) -> Vec<String> {
    let text = file(&format!("docs/{page}.md"));
    let parts: Vec<&str> = text.split("```").collect();
    assert!(parts.len() % 2 == 1, "docs/{page}.md: a fence is left open");
    let blocks = parts.iter().skip(1).step_by(2);
    // Commands within sentences, too.
    let within = parts.iter().step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2));
    let within = within.filter(|span| span.starts_with("quell ")).map(|span| span.replace('\n', " "));
    let lines = |block: &&str| block.replace("\\\n", " ").lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    blocks.flat_map(lines).chain(within).collect()
}

/// The words of a command for the binary in a line, without what a shell makes of the rest.
fn words(line: &str) -> Option<Vec<String>> {
    let line = line.split(" #").next().unwrap_or_default();
    let at = line.find("quell ").filter(|at| *at == 0 || line[..*at].ends_with(['/', ' ']))?;
    let is_command = line[..at].split_whitespace().all(|word| {
        ["sudo", "-u", "quell", "kubectl", "exec", "docker", "compose", "run", "--rm", "--"].contains(&word)
            || word.contains('=')
            || word.ends_with('/')
            || word.starts_with("deploy")
            || word.starts_with("quell-")
    });
    let rest = line[at + "quell ".len()..].split(['|', '>', ';', '&']).next()?;
    is_command.then(|| rest.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn every_command_that_is_shown_is_one() {
    let mut shown = 0;
    for page in PAGES {
        for line in code(page) {
            let Some(words) = words(&line) else { continue };
            if words.first().is_some_and(|word| word.ends_with(".service") || word.contains('=')) {
                continue;
            }
            shown += 1;
            if words == ["--version"] {
                continue;
            }
            // What stands before --help is read first: an unknown command or flag is refused.
            let told = said(quell().args(&words).arg("--help"));
            assert!(told.as_ref().is_ok_and(|help| help.contains("Usage: quell")), "docs/{page}.md: {line}\n{told:?}");
        }
    }
    assert!(shown > 15, "only {shown} commands were found: does this test still see them?");
}

#[test]
fn every_file_that_is_named_is_there() {
    for page in PAGES {
        let text = file(&format!("docs/{page}.md"));
        for link in text.split("](").skip(1).filter_map(|part| part.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || path.starts_with("http") {
                continue;
            }
            assert!(root().join("docs").join(path).exists(), "docs/{page}.md links to {path}");
        }
        for path in text.split(['`', ' ', '\n']).filter(|word| word.starts_with("deploy/")) {
            let path = path.trim_end_matches(['.', ',', ':', ';', ')']);
            assert!(path.contains(['*', '<', '{']) || root().join(path).exists(), "docs/{page}.md names {path}");
        }
    }
}

/// What `--help` says of a command, and of every command below it.
fn helps(path: &[&str], page: &mut String) {
    let help = said(quell().args(path).arg("--help")).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    page.push_str(
        &format!("\n## quell {}\n\n```\n{}\n```\n", path.join(" "), help.join("\n").trim()).replace(" \n", "\n"),
    );
    let below = help.iter().skip_while(|line| **line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // Names stand two letters in; what is further in goes on from the line before.
    let names = below.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    for name in names.filter_map(|line| line.split(' ').next()).filter(|name| *name != "help") {
        helps(&[path, &[name]].concat(), page);
    }
}

/// docs/commands.md is what the binary says of itself: run this with UPDATE=1 to write it anew.
#[test]
fn every_command_and_flag_is_in_the_manual() {
    let mut page = "# Commands\n\nWhat `quell --help` says of every command, with its flags and environment variables. Written by \
                    the tests:\nafter a change, `UPDATE=1 cargo test -p quell --test deploy in_the_manual` writes it anew. The \
                    keys of the configuration\nfile, and the variables that override them, are in [configuration.md](configuration.md).\n"
        .to_owned();
    helps(&[], &mut page);
    let path = root().join("docs/commands.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).expect("it can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(written.lines()).find(|(now, then)| now != then);
    assert!(
        page == written,
        "docs/commands.md is not what the binary says: run this with UPDATE=1; first: {differs:?}"
    );
}

/// Whatever the product reads from its environment stands in a manual.
#[test]
fn every_environment_variable_is_in_a_manual() {
    fn sources(folder: &std::path::Path, texts: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, texts);
            } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
                texts.push(std::fs::read_to_string(&path).expect("a text"));
            }
        }
    }
    let mut texts = Vec::new();
    for part in [
        "crates/quell/src",
        "crates/service/src",
        "ingest-gateway/src",
        "normalizer/src",
        "suppressor/src",
        "syncer/src",
    ] {
        sources(&root().join(part), &mut texts);
    }
    let manuals = ["commands", "configuration"].map(|page| file(&format!("docs/{page}.md"))).concat();
    let mut found = 0;
    for text in texts {
        for asked in ["env = \"", "env::var(\"", "env::var_os(\""] {
            for name in text.split(asked).skip(1).filter_map(|rest| rest.split('"').next()) {
                found += 1;
                assert!(
                    manuals.contains(name),
                    "{name} is read, and stands neither in docs/commands.md nor configuration.md"
                );
            }
        }
    }
    assert!(found > 3, "only {found}: does this test still see them?");
}
