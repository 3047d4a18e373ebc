//! The warehouse: the connectors of `deploy/connect` on a real Kafka Connect worker and a real PostgreSQL, and the files of
//! `quell export --parquet` as DuckDB reads them.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../cluster/bed.rs"]
#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod bed;
mod configurations;
mod dialects;
#[path = "../cli/instance.rs"]
#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod instance;
mod lake;
mod parquet;
mod postgres;
mod python;
mod sink;
mod worker;
