//! The manual and the file's shape are kept in step.

use super::{LARKPOST, LEAST, adapter, read};

const MANUAL: &str = include_str!("../../../../../docs/adapters.md");

/// The keys that stand in the tables of a section of the manual.
fn documented(heading: &str) -> Vec<&'static str> {
    let section = MANUAL.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let mut keys: Vec<&str> = cells.flat_map(|cell| cell.split('`').step_by(2)).collect();
    keys.retain(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit()));
    keys.sort_unstable();
    keys
}

/// The keys that a section of a file can have, as the refusal of another tells them.
fn known(text: &str) -> Vec<String> {
    let error = read(text).unwrap_err();
    let known = error.split_once("expected one of ").unwrap_or_else(|| panic!("{error}")).1;
    let mut keys: Vec<String> = known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_manual_holds_every_key() {
    let least = format!("name = \"acme\"\n{LEAST}");
    let check = |heading: &str, text: &str| assert_eq!(documented(heading), known(text), "{heading}");
    check("At the top", &format!("zzz = 1\n{least}"));
    check("`[authentication]`", &least.replace("scheme =", "zzz = 1\nscheme ="));
    check("`[body]`", &format!("name = \"acme\"\n[body]\nzzz = 1\n{LEAST}"));
    check("`[event]`", &least.replace("word = \"type\"", "zzz = 1\nword = \"type\""));
    check("`[[map]]`", &format!("{least}zzz = 1\n"));
    check("`[[fixture]]`", &format!("{least}[[fixture]]\nzzz = 1\n"));
}

#[test]
fn the_files_in_the_manual_work() {
    let blocks = MANUAL.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let files: Vec<String> = blocks
        .map(|block| block.lines().map(str::trim_start).collect::<Vec<_>>().join("\n"))
        .filter(|block| block.starts_with("name ="))
        .collect();
    assert_eq!(files.len(), 1);
    assert_eq!(read(&files[0]).unwrap().fixtures.len(), 1);
    adapter(&files[0]);
    adapter(LARKPOST);
}
