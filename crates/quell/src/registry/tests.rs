//! Against a real registry, and a scripted one where the real one cannot be made to behave so.

use super::*;
use axum::{Json, Router, extract::State, http::StatusCode, http::Uri, routing::any};
use schemas::{
    DecodeError,
    codec::{encode_embedded, schema_id},
    wire::OutcomeRecord,
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::{net::TcpListener, net::TcpStream, task::JoinSet};

/// Where a real registry answers. Starting one blocks.
async fn real() -> String {
    let found = tokio::task::spawn_blocking(|| testkit::servers::registry().map(|registry| registry.url().to_owned()));
    found.await.unwrap().unwrap()
}

/// A prefix of its own for each test.
fn prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("t{}-{}.", since.as_micros(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn config(url: &str) -> RegistryConfig {
    let document = format!("url = \"{url}\"\nstart_wait_s = 0\n");
    toml::from_str(&document).unwrap()
}

fn outcome() -> OutcomeRecord {
    OutcomeRecord {
        delta_id: "d".into(),
        tenant: "default".into(),
        channel: "email".into(),
        recipient: "jane@example.com".into(),
        account: "main".into(),
        provider: "sendgrid".into(),
        action: "suppress".into(),
        result: "done".into(),
        list: None,
        detail: None,
        attempts: 1,
        at: 9,
    }
}

/// A registry's client, its ids and its data directory.
struct Side {
    ids: &'static Ids,
    dir: tempfile::TempDir,
    stop: CancellationToken,
}

impl Side {
    fn new() -> Self {
        Self { ids: Box::leak(Box::default()), dir: tempfile::tempdir().unwrap(), stop: CancellationToken::new() }
    }

    /// As after an end of the process: what is left is the data directory.
    fn again(self) -> Self {
        self.stop.cancel();
        Self { ids: Box::leak(Box::default()), dir: self.dir, stop: CancellationToken::new() }
    }

    async fn start(&self, config: &RegistryConfig, prefix: &str) -> anyhow::Result<()> {
        start_with(self.ids, config, self.dir.path(), prefix, self.stop.clone()).await
    }

    fn id(&self) -> u32 {
        schema_id(&self.ids.encode(&outcome()).unwrap()).unwrap()
    }
}

/// A way to the registry that can be shut, as if the registry were stopped.
struct Door {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Door {
    /// Opens a way to the host of `url`; the URL through it.
    async fn open(url: &str, address: SocketAddr) -> (Self, String) {
        let uri: Uri = url.parse().unwrap();
        let target = uri.authority().unwrap().to_string();
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            // Dropped with this task, and every connection with it.
            let mut connections = JoinSet::new();
            loop {
                let (mut inner, _) = listener.accept().await.unwrap();
                let target = target.clone();
                connections.spawn(async move {
                    let mut outer = TcpStream::connect(target).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut inner, &mut outer).await);
                });
            }
        });
        (Self { address, task }, format!("http://{address}{}", uri.path()))
    }

    async fn shut(self) -> SocketAddr {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
        self.address
    }
}

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Sends what no part of the program sends.
async fn put(client: &Client, path: String, method: schemas::registry::Method, body: Value) -> u32 {
    let about = "a test".to_owned();
    client.id(&Ask { method, path, body: body.to_string(), about }).await.unwrap_or(0)
}

/// Registers the schema of outcomes after a change to it, held to nothing.
async fn register_changed(url: &str, prefix: &str, change: impl FnOnce(&mut Vec<Value>)) -> u32 {
    let subject = subjects(prefix).into_iter().find(|subject| subject.codec.name == "Outcome").unwrap();
    let mut schema: Value = serde_json::from_str(subject.codec.text).unwrap();
    change(schema["fields"].as_array_mut().unwrap());
    let client = Client::new(&config(url)).unwrap();
    let path = format!("/subjects/{}/versions", subject.name);
    let id = put(&client, path, schemas::registry::Method::Post, json!({ "schema": schema.to_string() })).await;
    assert_ne!(id, 0);
    id
}

/// An outcome as a build wrote it that knew no `detail`: the byte of its null is left out.
fn without_detail(id: u32) -> Vec<u8> {
    let mut body = encode_embedded(&outcome()).unwrap()[5..].to_vec();
    assert_eq!(body[body.len() - 3..], [0, 2, 18], "detail, attempts, at");
    body.remove(body.len() - 3);
    [&[0], &id.to_be_bytes()[..], &body].concat()
}

/// On a thread with a runtime of its own, as stages run.
async fn ready_elsewhere(ids: &'static Ids, value: Vec<u8>) -> Result<(), DecodeError> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(ids.ready([value.as_slice()]))
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn registers_once_and_reads_back() {
    let (url, prefix) = (real().await, prefix());
    let (one, two) = (Side::new(), Side::new());
    one.start(&config(&url), &prefix).await.unwrap();
    two.start(&config(&url), &prefix).await.unwrap();
    assert_eq!(one.id(), two.id(), "registering again gives the same id");
    assert!(one.id() > 0 && one.id() < 0x5155_0000);
    let bytes = one.ids.encode(&outcome()).unwrap();
    assert_eq!(two.ids.decode::<OutcomeRecord>(&bytes).unwrap(), outcome());

    let client = Client::new(&config(&url)).unwrap();
    for subject in subjects(&prefix) {
        let id = client.id(&Ask::find(&subject)).await.unwrap();
        let text = client.schema(id).await.unwrap().unwrap();
        let ours: Value = serde_json::from_str(subject.codec.text).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), ours, "{}", subject.name);
        // From here on the registry itself refuses what could not be read, whether by its own level or by the one set.
        let mut schema = ours;
        schema["fields"][0]["type"] = "boolean".into();
        let body = json!({ "schema": schema.to_string() }).to_string();
        let refused = client.id(&Ask { body, ..Ask::register(&subject) }).await.unwrap_err();
        assert!(matches!(refused, RegistryError::Incompatible { .. }), "{refused}");
    }
}

#[tokio::test]
async fn an_incompatible_schema_is_refused() {
    let (url, prefix) = (real().await, prefix());
    register_changed(&url, &prefix, |fields| fields[0]["type"] = "int".into()).await;
    let side = Side::new();
    let error = format!("{:#}", side.start(&config(&url), &prefix).await.unwrap_err());
    assert!(error.contains("not compatible") && error.contains("quell.outcomes.v1-value"), "{error}");
    assert!(!side.ids.has_registry());
}

#[tokio::test]
async fn without_leave_to_register_it_only_looks() {
    let (url, prefix) = (real().await, prefix());
    let looks = RegistryConfig { register: false, ..config(&url) };
    let error = format!("{:#}", Side::new().start(&looks, &prefix).await.unwrap_err());
    assert!(error.contains("registry.register"), "{error}");
    Side::new().start(&config(&url), &prefix).await.unwrap();
    Side::new().start(&looks, &prefix).await.unwrap();
}

#[tokio::test]
async fn what_an_older_build_wrote_is_read_also_while_the_registry_is_away() {
    let (url, prefix) = (real().await, prefix());
    let older = register_changed(&url, &prefix, |fields| fields.retain(|field| field["name"] != "detail")).await;
    let value = without_detail(older);
    let (door, url) = Door::open(&url, ANY_PORT).await;
    let side = Side::new();
    side.start(&config(&url), &prefix).await.unwrap();
    assert_ne!(side.id(), older);
    assert!(side.ids.decode::<OutcomeRecord>(&value).unwrap_err().is_unresolved());

    let address = door.shut().await;
    let away = ready_elsewhere(side.ids, value.clone()).await.unwrap_err();
    assert!(away.is_unresolved(), "{away}");

    let (door, _) = Door::open(&real().await, address).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = ready_elsewhere(side.ids, value.clone()).await {
        assert!(error.is_unresolved() && Instant::now() < deadline, "{error}");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(side.ids.decode::<OutcomeRecord>(&value).unwrap(), outcome());

    // The registry is away, and stays away.
    door.shut().await;
    let (id, side) = (side.id(), side.again());
    side.start(&config(&url), &prefix).await.unwrap();
    assert_eq!(side.id(), id);
    ready_elsewhere(side.ids, value.clone()).await.unwrap();
    assert_eq!(side.ids.decode::<OutcomeRecord>(&value).unwrap(), outcome());
}

#[tokio::test]
async fn an_id_that_nobody_gave_is_the_record_s_fault() {
    let (url, prefix) = (real().await, prefix());
    let side = Side::new();
    side.start(&config(&url), &prefix).await.unwrap();
    let value = without_detail(1_000_000_000);
    ready_elsewhere(side.ids, value.clone()).await.unwrap();
    let error = side.ids.decode::<OutcomeRecord>(&value).unwrap_err();
    assert!(matches!(error, DecodeError::OtherSchema { found: 1_000_000_000, .. }), "{error}");
}

#[tokio::test]
async fn the_first_start_needs_the_registry() {
    let (door, url) = Door::open("http://127.0.0.1:1", ANY_PORT).await;
    door.shut().await;
    let error = format!("{:#}", Side::new().start(&config(&url), "").await.unwrap_err());
    assert!(error.contains("needs it once"), "{error}");
}

/// Gives ids from a number on, unless it is told to answer a status.
#[derive(Debug, Default)]
struct Fake {
    first: AtomicU32,
    status: AtomicU32,
    seen: std::sync::Mutex<Vec<String>>,
}

impl Fake {
    async fn serve(self) -> (Arc<Self>, String) {
        async fn answer(
            State(fake): State<Arc<Fake>>,
            uri: Uri,
            headers: http::HeaderMap,
        ) -> (StatusCode, Json<Value>) {
            let credentials = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
            fake.seen.lock().unwrap().push(credentials.unwrap_or_default());
            let status = u16::try_from(fake.status.load(Ordering::Relaxed)).unwrap();
            if status != 0 {
                return (StatusCode::from_u16(status).unwrap(), Json(json!({ "message": "told to" })));
            }
            let subjects = subjects("");
            let at = subjects.iter().position(|subject| uri.path().contains(&subject.name)).unwrap();
            let id = fake.first.load(Ordering::Relaxed) + u32::try_from(at).unwrap();
            (StatusCode::OK, Json(json!({ "id": id })))
        }
        let fake = Arc::new(self);
        let listener = TcpListener::bind(ANY_PORT).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(any(answer)).with_state(Arc::clone(&fake));
        drop(tokio::spawn(async move { axum::serve(listener, router).await }));
        (fake, url)
    }
}

#[tokio::test]
async fn a_registry_that_numbers_anew_is_refused() {
    let (fake, url) = Fake { first: 10.into(), ..Fake::default() }.serve().await;
    let side = Side::new();
    side.start(&config(&url), "").await.unwrap();
    let side = side.again();
    fake.first.store(40, Ordering::Relaxed);
    let error = format!("{:#}", side.start(&config(&url), "").await.unwrap_err());
    assert!(error.contains("not the registry that this log was written with"), "{error}");
    assert!(!side.ids.has_registry());
    fake.first.store(10, Ordering::Relaxed);
    side.start(&config(&url), "").await.unwrap();

    // Another URL with the same ids is the same registry, once it answers.
    let (other, other_url) = Fake { first: 10.into(), ..Fake::default() }.serve().await;
    let side = side.again();
    other.status.store(503, Ordering::Relaxed);
    assert!(side.start(&config(&other_url), "").await.is_err(), "ids of another URL do not count");
    other.status.store(0, Ordering::Relaxed);
    side.start(&config(&other_url), "").await.unwrap();
    fake.first.store(0x5155_0000, Ordering::Relaxed);
    let error = format!("{:#}", Side::new().start(&config(&url), "").await.unwrap_err());
    assert!(error.contains("range of embedded ids"), "{error}");
}

#[tokio::test]
async fn refused_credentials_end_the_start_and_are_not_shown() {
    let (fake, url) = Fake { status: 401.into(), ..Fake::default() }.serve().await;
    let mut config = config(&url);
    config.basic_auth = Some(Secret::new("jane:hunter2"));
    let error = format!("{:#}", Side::new().start(&config, "").await.unwrap_err());
    assert!(error.contains("registry.basic_auth") && !error.contains("hunter2"), "{error}");
    assert!(!format!("{config:?} {:?}", Client::new(&config).unwrap()).contains("hunter2"));
    config.basic_auth = None;
    config.bearer = Some(Secret::new("tok"));
    assert!(Side::new().start(&config, "").await.is_err());
    assert_eq!(*fake.seen.lock().unwrap(), ["Basic amFuZTpodW50ZXIy", "Bearer tok"]);
}

/// A 404 of a path that is not the registry's, as from a proxy after a change of its routes.
#[tokio::test]
async fn a_404_that_is_not_the_registry_s_says_nothing_of_a_record() {
    let (fake, url) = Fake { first: 10.into(), ..Fake::default() }.serve().await;
    let side = Side::new();
    side.start(&config(&url), "").await.unwrap();
    fake.status.store(404, Ordering::Relaxed);
    let waits = ready_elsewhere(side.ids, without_detail(900)).await.unwrap_err();
    assert!(waits.is_unresolved() && waits.to_string().contains("registry.url"), "{waits}");
    let error = format!("{:#}", Side::new().start(&config(&url), "").await.unwrap_err());
    assert!(error.contains("registry.url"), "{error}");
    assert!(look(&config(&url)).await.is_err(), "none found is another answer");
}

/// What is taken for "there is none" is what the real one says, and what it says of a wrong path is not.
#[tokio::test]
async fn the_real_registry_says_that_there_is_none() {
    let (url, prefix) = (real().await, prefix());
    let subject = subjects(&prefix).into_iter().next().unwrap();
    let client = Client::new(&config(&url)).unwrap();
    let missing = |error: RegistryError| assert!(matches!(error, RegistryError::Missing { .. }), "{error}");
    missing(client.id(&Ask::find(&subject)).await.unwrap_err());
    missing(client.schema(1_000_000_000).await.unwrap_err());
    client.compatible(&Ask::check(&subject)).await.unwrap();
    client.level(&Ask::level(Some(&subject))).await.unwrap();
    let wrong = Client::new(&config(&format!("{url}/nowhere"))).unwrap();
    let error = wrong.schema(1_000_000_000).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unexpected { status: 404, .. }), "{error}");
}

#[tokio::test]
async fn a_broken_cache_is_told() {
    let (_fake, url) = Fake { first: 10.into(), ..Fake::default() }.serve().await;
    let side = Side::new();
    std::fs::write(side.dir.path().join(CACHE_FILE), "{").unwrap();
    let error = format!("{:#}", side.start(&config(&url), "").await.unwrap_err());
    assert!(error.contains("delete it"), "{error}");
}

#[test]
fn wrong_settings_are_told() {
    let check = |document: &str, says: &str| {
        let config: RegistryConfig = toml::from_str(document).unwrap();
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains(says), "{document}: {error}");
    };
    check("url = 'registry:8081'", "http://");
    check("url = '/x'", "http://");
    check("url = 'http://jane:secret@registry'", "basic_auth");
    check("url = 'http://registry?x=1'", "no query");
    check("url = 'http://registry'\ntimeout_ms = 1", "timeout_ms");
    assert!(config("https://registry.example.com/apis/ccompat/v7").check().is_ok());
}
