//! Real servers for tests: Apache Kafka, a CQL store, a Confluent-compatible schema registry, PostgreSQL, Kafka Connect.
//!
//! [`kafka()`], [`cql()`], [`registry()`] and [`postgres()`] give one shared server a process, found by an address in the
//! environment (`QUELL_TEST_KAFKA`, `QUELL_TEST_CQL`, `QUELL_TEST_REGISTRY`, `QUELL_TEST_POSTGRES`), else started as a
//! container where Docker answers, else on this machine: PostgreSQL from Debian's package, the others on the Java machine
//! with files from Maven Central. Tests share it, so each makes topics, groups, keyspaces, subjects and databases of its
//! own. [`JvmKafka`], [`JvmCql`], [`JvmRegistry`], [`LocalPostgres`] and [`JvmConnect`] belong to one test, which may stop,
//! kill and pause them. All of them block until they serve, and end with the process, however it ends.

mod cache;
mod certificates;
mod clash;
mod client;
mod connect;
mod container;
mod cql;
mod docker;
mod error;
mod find;
mod java;
mod kafka;
mod postgres;
pub mod probe;
mod registry;
mod watchdog;

pub use client::java_client;
pub use connect::{ConnectOptions, JvmConnect};
pub use cql::{CqlOptions, CqlSecurity, JvmCql};
pub use error::ServerError;
pub use find::{Cql, Kafka, Kind, Origin, Postgres, Registry, cql, kafka, postgres, registry};
pub use kafka::{JvmKafka, KafkaOptions, KafkaSecurity};
pub use postgres::LocalPostgres;
pub use registry::JvmRegistry;
pub use watchdog::Watchdog;

fn free_ports<const N: usize>() -> Result<[u16; N], ServerError> {
    crate::ports::free().map_err(ServerError::io("finding a free port"))
}

/// What every server of a test's own can be told. All of it blocks until it is done.
macro_rules! steer {
    ($server:ty) => {
        impl $server {
            /// SIGTERM: an orderly end, forced after thirty seconds. Ports and data stay for [`Self::start_again`].
            pub fn stop(&self) -> Result<(), ServerError> {
                self.server.stop()
            }

            /// SIGKILL. Ports and data stay for [`Self::start_again`].
            pub fn kill(&self) -> Result<(), ServerError> {
                self.server.kill()
            }

            /// Starts a stopped or killed server on the same ports and data, and waits until it answers.
            pub fn start_again(&self) -> Result<(), ServerError> {
                self.server.start_again()
            }

            /// SIGSTOP: connections stay open, and nothing answers until [`Self::resume`].
            pub fn pause(&self) -> Result<(), ServerError> {
                self.server.pause()
            }

            /// SIGCONT: the end of a pause.
            pub fn resume(&self) -> Result<(), ServerError> {
                self.server.resume()
            }

            /// The process id while it runs.
            pub fn pid(&self) -> Option<u32> {
                self.server.pid()
            }

            /// What the latest process wrote; gone with the server.
            pub fn log_path(&self) -> std::path::PathBuf {
                self.server.log_path()
            }
        }
    };
}
use steer;
