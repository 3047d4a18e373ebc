//! Servers as containers, where Docker answers.

use super::{
    Kind, Origin, ServerError, docker,
    find::Found,
    free_ports, kafka, postgres, probe,
    registry::{self, API},
    watchdog::Watchdog,
};
use std::{
    thread,
    time::{Duration, Instant},
};
use testcontainers::{ContainerRequest, GenericImage, ImageExt, core::IntoContainerPort, runners::AsyncRunner};

/// From the start of the container, its image being there, to its answer.
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(100);
/// Of the PostgreSQL in a container, which nobody reaches but this machine.
const PASSWORD: &str = "word-of-a-container";

/// What a container is made of.
#[derive(Debug)]
struct Recipe {
    image: &'static str,
    tag: &'static str,
    /// The port inside.
    port: u16,
    variables: Vec<(String, String)>,
    command: Vec<&'static str>,
}

/// The same server with the same settings as on the Java machine; for CQL the real ScyllaDB.
fn recipe(kind: Kind, advertised: &str) -> Recipe {
    match kind {
        Kind::Kafka => Recipe {
            image: "apache/kafka",
            tag: "4.3.1",
            port: 9092,
            variables: kafka_variables(advertised),
            command: vec![],
        },
        Kind::Cql => Recipe {
            image: "scylladb/scylla",
            tag: "2025.1",
            port: 9042,
            variables: vec![],
            // One core, little memory, no check of the disks' speed.
            command: vec!["--smp", "1", "--memory", "750M", "--overprovisioned", "1", "--developer-mode", "1"],
        },
        Kind::Registry => {
            Recipe { image: "apicurio/apicurio-registry", tag: "3.0.9", port: 8080, variables: vec![], command: vec![] }
        }
        Kind::Postgres => Recipe {
            image: "library/postgres",
            tag: "15.14",
            port: 5432,
            variables: [("USER", postgres::USER), ("PASSWORD", PASSWORD), ("DB", postgres::DATABASE)]
                .map(|(name, value)| (format!("POSTGRES_{name}"), value.to_owned()))
                .to_vec(),
            command: vec![],
        },
        // As Kafka's own image starts one, but nothing asks for it.
        Kind::Connect => Recipe { image: "apache/kafka", tag: "4.3.1", port: 8083, variables: vec![], command: vec![] },
    }
}

/// The image takes a property `a.b` as the variable `KAFKA_A_B`. Given any, it uses nothing of its own defaults.
fn kafka_variables(advertised: &str) -> Vec<(String, String)> {
    let own = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.quorum.voters", "1@localhost:9093"),
        ("controller.listener.names", "CONTROLLER"),
        ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
        ("inter.broker.listener.name", "PLAINTEXT"),
    ];
    let advertised = format!("PLAINTEXT://{advertised}");
    own.iter()
        .chain(kafka::SETTINGS)
        .copied()
        .chain([("advertised.listeners", advertised.as_str())])
        .map(|(name, value)| (format!("KAFKA_{}", name.replace('.', "_").to_uppercase()), value.to_owned()))
        .collect()
}

/// Starts a container if Docker answers, and waits until the server in it answers. The container is removed when this
/// process ends.
///
/// # Errors
/// [`ServerError::NoDocker`] at once where none answers.
pub(crate) fn start(kind: Kind) -> Result<Found, ServerError> {
    let daemon = docker::find()?;
    let [port] = free_ports()?;
    // The broker must know before its start under which address clients find it, so the port outside is chosen here.
    let address = format!("{}:{port}", daemon.host());
    let name = format!("quell-test-{}-{port}", std::process::id());
    eprintln!("servers: starting {kind} as a container (the first time pulls its image)");
    let watchdog = Watchdog::new(&["docker", "rm", "--force", "--volumes", name.as_str()].map(AsRef::as_ref))
        .map_err(ServerError::io("starting a watchdog"))?;
    run(kind, recipe(kind, &address), port, &name)?;
    let address = match kind {
        Kind::Registry => format!("http://{address}{API}"),
        Kind::Postgres => postgres::url(PASSWORD, &address),
        Kind::Kafka | Kind::Cql | Kind::Connect => address,
    };
    wait(kind, &address)?;
    if kind == Kind::Registry {
        registry::set_backward(&address)?;
    }
    Ok(Found { address, origin: Origin::Container, _keep: Some(Box::new(watchdog)) })
}

/// On a thread and a runtime of its own: the caller may stand in another runtime, where nobody may block.
fn run(kind: Kind, recipe: Recipe, port: u16, name: &str) -> Result<(), ServerError> {
    let failed = |detail: String| ServerError::Container { kind, detail };
    let image = GenericImage::new(recipe.image, recipe.tag).with_exposed_port(recipe.port.tcp());
    let mut request: ContainerRequest<GenericImage> =
        image.with_mapped_port(port, recipe.port.tcp()).with_container_name(name).with_cmd(recipe.command);
    for (name, value) in recipe.variables {
        request = request.with_env_var(name, value);
    }
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let container = runtime.block_on(request.start()).map_err(|error| error.to_string())?;
        // Dropping it would remove the container. The watchdog does that, also when nothing gets dropped any more.
        std::mem::forget(container);
        Ok(())
    };
    let thread = thread::Builder::new().name("container".to_owned()).spawn(work);
    let joined = thread.map_err(ServerError::io("starting a thread"))?.join();
    joined.unwrap_or_else(|_| Err("its client panicked".to_owned())).map_err(failed)
}

fn wait(kind: Kind, address: &str) -> Result<(), ServerError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = match kind {
            Kind::Kafka => probe::kafka(address).and_then(|brokers| match brokers {
                0 => Err(std::io::ErrorKind::NotConnected.into()),
                _ => Ok(()),
            }),
            Kind::Cql => probe::cql(address),
            Kind::Registry => probe::registry(address),
            Kind::Postgres => postgres::answers(&postgres::place(address).unwrap_or_default()),
            Kind::Connect => probe::connect(address).map(drop),
        };
        match answer {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                return Err(ServerError::Container { kind, detail: format!("no answer within {PATIENCE:?}: {error}") });
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_in_a_container_gets_its_settings_as_variables() {
        let variables = kafka_variables("127.0.0.1:12345");
        let value = |name: &str| variables.iter().find(|(set, _)| set == name).map(|(_, value)| value.as_str());
        assert_eq!(value("KAFKA_ADVERTISED_LISTENERS"), Some("PLAINTEXT://127.0.0.1:12345"));
        assert_eq!(value("KAFKA_AUTO_CREATE_TOPICS_ENABLE"), Some("false"));
        assert_eq!(value("KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS"), Some("1000"));
    }

    #[test]
    fn every_kind_has_an_image_of_a_fixed_version() {
        for kind in [Kind::Kafka, Kind::Cql, Kind::Registry, Kind::Postgres] {
            let recipe = recipe(kind, "127.0.0.1:1");
            assert!(recipe.image.contains('/') && recipe.tag.contains('.') && recipe.port > 0, "{recipe:?}");
        }
    }
}
