//! The tables and views of warehouses that no test can reach, as a parser of their dialects reads them: sqlglot, from Python. It
//! takes more than the warehouses do, so what it refuses is wrong, and what it takes may still be.

use crate::{python, worker::text};
use serde_json::Value;
use std::collections::BTreeMap;

const WAREHOUSES: [&str; 3] = ["snowflake", "bigquery", "redshift"];

/// What the statements make, by name: a table or a view, and its columns.
fn made(warehouse: &str, sql: &str) -> Result<BTreeMap<String, (String, Vec<String>)>, String> {
    let told = python::run("statements.py", warehouse, sql)?;
    let one = |line: &str| -> (String, (String, Vec<String>)) {
        let made: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let word = |key: &str| made[key].as_str().expect("a word").to_owned();
        let columns = made["columns"].as_array().expect("columns").iter();
        // Snowflake's names are upper case unless they are quoted.
        let columns = columns.map(|column| column.as_str().expect("a name").to_lowercase()).collect();
        (word("name"), (word("kind"), columns))
    };
    Ok(told.lines().map(one).collect())
}

#[test]
fn every_statement_is_of_its_dialect_and_reads_what_is_there() {
    for warehouse in WAREHOUSES {
        let sql = text(&format!("{warehouse}.sql"));
        let made = made(warehouse, &sql).unwrap_or_else(|error| panic!("{warehouse}: {error}"));
        let kinds: Vec<(&str, &str)> = made.iter().map(|(name, (kind, _))| (name.as_str(), kind.as_str())).collect();
        let (table, view) = ("TABLE", "VIEW");
        let expected = [
            ("canonical_events", view),
            ("deltas", table),
            ("events", table),
            ("in_force", view),
            ("suppression_list", view),
            ("suppression_state", table),
            ("unengaged", view),
        ];
        assert_eq!(kinds, expected, "{warehouse}");
        // Whoever reads the views reads the same in each warehouse.
        let columns = |name: &str| made[name].1.join(" ");
        assert_eq!(
            columns("suppression_list"),
            "email_address event_type event_timestamp inserted_at tenant address scope reason until provider",
            "{warehouse}"
        );
        assert_eq!(columns("unengaged"), "tenant email_address event_type event_timestamp", "{warehouse}");
    }
}

#[test]
fn a_mistake_in_a_statement_is_found() {
    for warehouse in WAREHOUSES {
        let sql = text(&format!("{warehouse}.sql"));
        for (right, wrong) in [
            ("FROM quell.deltas", "FORM quell.deltas"),
            ("VIEW quell.in_force", "VEW quell.in_force"),
            ("'unengaged' AS event_type,", "'unengaged' AS event_type"),
            ("row_number() OVER (", "row_number() OVER "),
            ("row_number()", "row_numbr()"),
            ("kind IN ('opened'", "kid IN ('opened'"),
            ("FROM quell.in_force", "FROM quell.inforce"),
        ] {
            assert!(sql.contains(right), "{warehouse}: {right}");
            let told = made(warehouse, &sql.replace(right, wrong));
            assert!(told.is_err(), "{warehouse}: {wrong} was taken");
        }
    }
    // Another warehouse's file is not its own.
    for (warehouse, other) in [("bigquery", "snowflake"), ("redshift", "snowflake"), ("snowflake", "bigquery")] {
        assert!(made(warehouse, &text(&format!("{other}.sql"))).is_err(), "{other} in {warehouse}");
    }
}
