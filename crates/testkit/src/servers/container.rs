//! Servers as containers, where Docker answers.

use super::{
    Kind, Origin, ServerError,
    docker::{self, Daemon},
    find::Found,
    free_ports, kafka, postgres, probe,
    registry::{self, API},
    watchdog::Watchdog,
};
use std::{
    collections::HashMap,
    ffi::OsStr,
    thread,
    time::{Duration, Instant},
};
use testcontainers::{ContainerRequest, GenericImage, ImageExt, core::IntoContainerPort, runners::AsyncRunner};

/// From the start of the container, its image being there, to its answer.
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(100);
/// How often to look whether the container still runs while its server does not answer.
const LOOK: Duration = Duration::from_secs(1);
/// Of the PostgreSQL in a container: where the daemon is this machine's, nobody else reaches it.
const PASSWORD: &str = "word-of-a-container";

/// What a container is made of.
#[derive(Debug)]
struct Recipe {
    image: &'static str,
    tag: &'static str,
    /// The port inside.
    port: u16,
    variables: Vec<(String, String)>,
    command: Vec<String>,
}

/// The same server with the same settings as on the Java machine; for CQL the real ScyllaDB. No image of these starts a
/// Connect worker.
fn recipe(kind: Kind, advertised: &str) -> Option<Recipe> {
    Some(match kind {
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
            command: ["--smp", "1", "--memory", "750M", "--overprovisioned", "1", "--developer-mode", "1"]
                .into_iter()
                // Clients connect to the address that the node tells them, and its own is none outside.
                .chain(["--broadcast-rpc-address", advertised.rsplit_once(':').map_or(advertised, |(host, _)| host)])
                .map(str::to_owned)
                .collect(),
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
        Kind::Connect => return None,
    })
}

/// The image takes a property `a.b` as the variable `KAFKA_A_B`. Given any, it uses nothing of its own defaults.
///
/// A broker talks to itself over its advertised address too, for each transaction. The one that clients use leads nowhere
/// inside the container, so it has a listener for that which nobody else knows.
fn kafka_variables(advertised: &str) -> Vec<(String, String)> {
    let own = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.quorum.voters", "1@localhost:9093"),
        ("controller.listener.names", "CONTROLLER"),
        ("listeners", "PLAINTEXT://:9092,BROKER://localhost:9094,CONTROLLER://localhost:9093"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT"),
        ("inter.broker.listener.name", "BROKER"),
    ];
    let advertised = format!("PLAINTEXT://{advertised},BROKER://localhost:9094");
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
    let recipe = recipe(kind, &address).ok_or(ServerError::NotRunning { kind })?;
    let name = format!("quell-test-{}-{port}", std::process::id());
    eprintln!("servers: starting {kind} as a container (the first time pulls its image)");
    let removal = daemon.removal(&name);
    let removal: Vec<&OsStr> = removal.iter().map(AsRef::as_ref).collect();
    let watchdog = Watchdog::new(&removal).map_err(ServerError::io("starting a watchdog"))?;
    run(kind, request(recipe, daemon.published_at(), port, &name))?;
    let address = match kind {
        Kind::Registry => format!("http://{address}{API}"),
        Kind::Postgres => postgres::url(PASSWORD, &address),
        Kind::Kafka | Kind::Cql | Kind::Connect => address,
    };
    wait(kind, &address, &daemon, &name)?;
    Ok(Found { address, origin: Origin::Container, _keep: Some(Box::new(watchdog)) })
}

fn request(
    recipe: Recipe,
    published_at: Option<&'static str>,
    port: u16,
    name: &str,
) -> ContainerRequest<GenericImage> {
    let image = GenericImage::new(recipe.image, recipe.tag).with_exposed_port(recipe.port.tcp());
    let mut request: ContainerRequest<GenericImage> =
        image.with_mapped_port(port, recipe.port.tcp()).with_container_name(name).with_cmd(recipe.command);
    for (name, value) in recipe.variables {
        request = request.with_env_var(name, value);
    }
    request.with_host_config_modifier(move |config| {
        let ports = config.port_bindings.iter_mut().flat_map(HashMap::values_mut);
        for binding in ports.flatten().flatten() {
            binding.host_ip = published_at.map(str::to_owned);
        }
    })
}

/// On a thread and a runtime of its own: the caller may stand in another runtime, where nobody may block.
fn run(kind: Kind, request: ContainerRequest<GenericImage>) -> Result<(), ServerError> {
    let failed = |detail: String| ServerError::Container { kind, detail };
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

fn wait(kind: Kind, address: &str, daemon: &Daemon, name: &str) -> Result<(), ServerError> {
    let failed = |why: &str| {
        let detail = format!("{why}; its log ends with\n{}", daemon.log(name));
        Err(ServerError::Container { kind, detail })
    };
    let deadline = Instant::now() + PATIENCE;
    let mut look = Instant::now() + LOOK;
    loop {
        let answer = match kind {
            Kind::Kafka => probe::kafka(address).and_then(|brokers| match brokers {
                0 => Err(std::io::ErrorKind::NotConnected.into()),
                _ => Ok(()),
            }),
            Kind::Cql => probe::cql(address),
            Kind::Registry => probe::registry(address).and_then(|()| registry::set_backward(address)),
            Kind::Postgres => postgres::answers(&postgres::place(address).unwrap_or_default()),
            Kind::Connect => probe::connect(address).map(drop),
        };
        match answer {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                return failed(&format!("no answer within {PATIENCE:?}: {error}"));
            }
            Err(_) => {
                if Instant::now() >= look {
                    if daemon.has_ended(name) {
                        return failed("it ended while starting");
                    }
                    look = Instant::now() + LOOK;
                }
                thread::sleep(POLL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testcontainers::bollard::models::{HostConfig, PortBinding};

    #[test]
    fn the_broker_in_a_container_gets_its_settings_as_variables() {
        let variables = kafka_variables("127.0.0.1:12345");
        let value = |name: &str| variables.iter().find(|(set, _)| set == name).map(|(_, value)| value.as_str());
        assert_eq!(value("KAFKA_ADVERTISED_LISTENERS"), Some("PLAINTEXT://127.0.0.1:12345,BROKER://localhost:9094"));
        assert_eq!(value("KAFKA_AUTO_CREATE_TOPICS_ENABLE"), Some("false"));
        assert_eq!(value("KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS"), Some("1000"));
    }

    #[test]
    fn the_store_in_a_container_tells_where_it_is_found() {
        let command = recipe(Kind::Cql, "10.0.0.1:12345").unwrap().command;
        assert_eq!(command[command.len() - 2..], ["--broadcast-rpc-address", "10.0.0.1"]);
    }

    /// Else no transaction gets through: to the broker itself the address of the clients leads nowhere.
    #[test]
    fn the_broker_in_a_container_reaches_itself_inside() {
        let variables = kafka_variables("127.0.0.1:12345");
        let value =
            |name: &str| variables.iter().find(|(set, _)| set == name).map(|(_, value)| value.as_str()).unwrap();
        let own = format!("{}://localhost:", value("KAFKA_INTER_BROKER_LISTENER_NAME"));
        let place = |name: &str| value(name).split(',').find(|listener| listener.starts_with(&own)).unwrap().to_owned();
        assert_eq!(place("KAFKA_LISTENERS"), place("KAFKA_ADVERTISED_LISTENERS"));
    }

    #[test]
    fn ports_are_opened_where_they_should_be() {
        let check = |published_at: Option<&'static str>| {
            let request = request(recipe(Kind::Postgres, "").unwrap(), published_at, 12_345, "x");
            let modifier = request.host_config_modifier().unwrap();
            let mut config = HostConfig {
                port_bindings: Some(HashMap::from([("5432/tcp".to_owned(), Some(vec![PortBinding::default()]))])),
                ..HostConfig::default()
            };
            modifier(&mut config);
            let bindings = config.port_bindings.unwrap()["5432/tcp"].clone().unwrap();
            assert_eq!(bindings.iter().map(|binding| binding.host_ip.as_deref()).collect::<Vec<_>>(), [published_at]);
        };
        check(Some("127.0.0.1"));
        check(None);
    }

    #[test]
    fn every_kind_has_an_image_of_a_fixed_version() {
        for kind in [Kind::Kafka, Kind::Cql, Kind::Registry, Kind::Postgres] {
            let recipe = recipe(kind, "127.0.0.1:1").unwrap();
            assert!(recipe.image.contains('/') && recipe.tag.contains('.') && recipe.port > 0, "{recipe:?}");
        }
        assert!(recipe(Kind::Connect, "127.0.0.1:1").is_none());
    }
}
