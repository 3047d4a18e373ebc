//! Finds one server of each kind for all tests of a process.

use super::{CqlOptions, JvmCql, JvmKafka, JvmRegistry, KafkaOptions, LocalPostgres, ServerError, container, probe};
use std::{
    fmt::{self, Debug},
    sync::{Arc, OnceLock},
};

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Kafka,
    Cql,
    Registry,
    Postgres,
    /// Never shared: a worker belongs to the Kafka of its test.
    Connect,
}

impl Kind {
    /// The variables that may hold the address of one, the first set one counts.
    const fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Kafka => &["QUELL_TEST_KAFKA"],
            Self::Cql => &["QUELL_TEST_CQL", "SCYLLA_URI"],
            Self::Registry => &["QUELL_TEST_REGISTRY"],
            Self::Postgres => &["QUELL_TEST_POSTGRES"],
            Self::Connect => &[],
        }
    }

    /// The variable that tells tests where one is.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Kafka => "QUELL_TEST_KAFKA",
            Self::Cql => "QUELL_TEST_CQL",
            Self::Registry => "QUELL_TEST_REGISTRY",
            Self::Postgres => "QUELL_TEST_POSTGRES",
            Self::Connect => "",
        }
    }

    const fn expected(self) -> &'static str {
        match self {
            Self::Kafka | Self::Cql => "host:port",
            Self::Registry => "the base URL of its Confluent API",
            Self::Postgres => "postgresql://user:password@host:port/database",
            Self::Connect => "the base URL of its REST API",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kafka => "Kafka",
            Self::Cql => "CQL store",
            Self::Registry => "schema registry",
            Self::Postgres => "PostgreSQL",
            Self::Connect => "Kafka Connect",
        })
    }
}

/// Where a shared server comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Environment,
    Container,
    /// A process of this machine; most run on its Java machine.
    Java,
}

/// A server that answers, and what keeps it running.
#[derive(Debug)]
pub(crate) struct Found {
    pub address: String,
    pub origin: Origin,
    /// Held, never read: dropping it would end the server.
    pub _keep: Option<Box<dyn Debug + Send + Sync>>,
}

macro_rules! shared {
    ($(#[$doc:meta])* $name:ident, $function:ident, $kind:expr, $(#[$address_doc:meta])* $address:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(Found);

        impl $name {
            $(#[$address_doc])*
            pub fn $address(&self) -> &str {
                &self.0.address
            }

            /// Where it comes from.
            pub fn origin(&self) -> Origin {
                self.0.origin
            }
        }

        $(#[$doc])*
        ///
        /// Found or started on first use, then shared by all tests of this process; blocks until it answers.
        ///
        /// # Errors
        /// None of the three ways led to one. The error says what to do, and every later call gets the same one.
        pub fn $function() -> Result<&'static $name, ServerError> {
            static SHARED: OnceLock<Result<$name, ServerError>> = OnceLock::new();
            SHARED.get_or_init(|| find($kind).map($name)).as_ref().map_err(Clone::clone)
        }
    };
}

shared!(
    /// The Kafka of this process.
    Kafka,
    kafka,
    Kind::Kafka,
    /// `host:port` without TLS and login.
    bootstrap
);
shared!(
    /// The CQL store of this process: ScyllaDB by address or container, Apache Cassandra on the Java machine.
    Cql,
    cql,
    Kind::Cql,
    /// `host:port` of the CQL native protocol.
    address
);
shared!(
    /// The schema registry of this process.
    Registry,
    registry,
    Kind::Registry,
    /// The base URL of the Confluent API: `{url}/subjects` lists the subjects.
    url
);
shared!(
    /// The PostgreSQL of this process. Its user may make databases: each test makes one of its own.
    Postgres,
    postgres,
    Kind::Postgres,
    /// `postgresql://user:password@host:port/database`, as `psql` takes it.
    url
);

fn find(kind: Kind) -> Result<Found, ServerError> {
    if let Some((variable, address)) = given(kind, |name| std::env::var(name).ok())? {
        // A connection is enough: what is there may want TLS or a login.
        let connected = probe::connect(&place(kind, &address).unwrap_or_default());
        connected.map_err(|source| ServerError::Silent {
            kind,
            variable,
            address: address.clone(),
            source: Arc::new(source),
        })?;
        return Ok(Found { address, origin: Origin::Environment, _keep: None });
    }
    let docker = match container::start(kind) {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    if !matches!(docker, ServerError::NoDocker(_)) {
        eprintln!("servers: {docker}; trying the Java machine");
    }
    on_java(kind).map_err(|java| ServerError::NoWay {
        kind,
        variable: kind.variable(),
        docker: Box::new(docker),
        java: Box::new(java),
    })
}

fn on_java(kind: Kind) -> Result<Found, ServerError> {
    let found = |address: String, keep: Box<dyn Debug + Send + Sync>| Found {
        address,
        origin: Origin::Java,
        _keep: Some(keep),
    };
    Ok(match kind {
        Kind::Kafka => {
            let server = JvmKafka::start(&KafkaOptions::default())?;
            found(server.bootstrap().to_owned(), Box::new(server))
        }
        Kind::Cql => {
            // Nobody kills the shared one.
            let server = JvmCql::start(&CqlOptions { durable: false, measured: false })?;
            found(server.address().to_owned(), Box::new(server))
        }
        Kind::Registry => {
            let server = JvmRegistry::start()?;
            found(server.url().to_owned(), Box::new(server))
        }
        Kind::Postgres => {
            let server = LocalPostgres::start()?;
            found(server.url().to_owned(), Box::new(server))
        }
        Kind::Connect => return Err(ServerError::NotRunning { kind }),
    })
}

/// The address from the environment, with the name of its variable.
fn given(kind: Kind, variable: impl Fn(&str) -> Option<String>) -> Result<Option<(&'static str, String)>, ServerError> {
    let set = |name: &&'static str| {
        Some((*name, variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())?))
    };
    match kind.variables().iter().find_map(set) {
        Some((variable, address)) if place(kind, &address).is_none() => {
            Err(ServerError::Address { kind, variable, expected: kind.expected() })
        }
        found => Ok(found),
    }
}

/// `host:port` of an address; of the first one in a list, as Kafka's clients take.
fn place(kind: Kind, address: &str) -> Option<String> {
    if kind == Kind::Registry {
        return probe::split_url(address).map(|(place, _)| place);
    }
    if kind == Kind::Postgres {
        return super::postgres::place(address);
    }
    let first = address.split(',').next()?.trim();
    let (host, port) = first.rsplit_once(':')?;
    let whole = !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port > 0);
    whole.then(|| first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_from_the_environment() {
        let check = |kind, set: &[(&str, &str)], expected: Option<(&'static str, &str)>| {
            let variable = |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
            let expected = expected.map(|(name, address)| (name, address.to_owned()));
            assert_eq!(given(kind, variable).unwrap(), expected, "{set:?}");
        };
        check(Kind::Kafka, &[], None);
        check(Kind::Kafka, &[("QUELL_TEST_KAFKA", " ")], None);
        check(Kind::Kafka, &[("QUELL_TEST_CQL", "b:9042")], None);
        check(Kind::Kafka, &[("QUELL_TEST_KAFKA", " a:1,b:2 ")], Some(("QUELL_TEST_KAFKA", "a:1,b:2")));
        check(Kind::Cql, &[("SCYLLA_URI", "s:9042")], Some(("SCYLLA_URI", "s:9042")));
        check(Kind::Cql, &[("SCYLLA_URI", "s:1"), ("QUELL_TEST_CQL", "q:2")], Some(("QUELL_TEST_CQL", "q:2")));
        check(Kind::Registry, &[("QUELL_TEST_REGISTRY", "http://r/v7")], Some(("QUELL_TEST_REGISTRY", "http://r/v7")));
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_to_do() {
        let check = |kind: Kind, value: &str, expected: &str| {
            let error = given(kind, |_| Some(value.to_owned())).unwrap_err().to_string();
            assert!(error.contains(kind.variable()) && error.contains(expected), "{value}: {error}");
            assert!(error.contains("unset it"), "{error}");
        };
        check(Kind::Kafka, "localhost", "host:port");
        check(Kind::Kafka, "localhost:", "host:port");
        check(Kind::Kafka, "localhost:0", "host:port");
        check(Kind::Cql, ":9042", "host:port");
        check(Kind::Cql, "cql://x:9042", "host:port");
        check(Kind::Registry, "127.0.0.1:8081", "base URL");
    }

    #[test]
    fn the_place_to_knock_at_is_the_first_one() {
        assert_eq!(place(Kind::Kafka, "a:1, b:2").as_deref(), Some("a:1"));
        assert_eq!(place(Kind::Registry, "http://r:8081/v7").as_deref(), Some("r:8081"));
    }

    #[test]
    fn without_any_way_the_error_names_all_three() {
        let error = ServerError::NoWay {
            kind: Kind::Cql,
            variable: Kind::Cql.variable(),
            docker: Box::new(ServerError::NoDocker("no socket".to_owned())),
            java: Box::new(ServerError::NoCache),
        };
        let text = error.to_string();
        for part in ["QUELL_TEST_CQL", "start Docker", "no socket", "openjdk-17-jdk-headless maven", "QUELL_CACHE_DIR"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(format!("{error:?}"), text, "unwrap() shows it as it is");
    }
}
