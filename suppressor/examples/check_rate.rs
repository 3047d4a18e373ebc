//! How long a check of 50,000 addresses takes over HTTP against the embedded store: `check_rate [SUPPRESSIONS] [FOLDER]`.
//!
//! Prints one JSON document: milliseconds of each of several runs for JSON, NDJSON and CSV, on an idle machine.

use domain::{Cause, Decision, EventId, Reason, Recipient, RecipientKey, Scope, Tenant, Timestamp};
use event_log::{TopicSpec, memory::MemoryLog};
use std::{error::Error, fmt::Write as _, path::PathBuf, sync::Arc, time::Instant};
use suppressor::{
    History, Store as _,
    lookup::{CurrentPolicy, LookupDeps, LookupLimits, router},
    store::{InForce, Write, embedded::EmbeddedStore},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const ASKED: usize = 50_000;
const RUNS: usize = 7;

fn address(n: usize) -> String {
    // Spread over the key space, as real addresses are.
    format!("{:08x}.{n}@example{}.com", (n as u32).wrapping_mul(2_654_435_761), n % 97)
}

fn write(n: usize) -> Result<Write, Box<dyn Error>> {
    let address = address(n);
    let cause = Cause {
        scope: Scope::All,
        reason: Reason::HardBounce,
        since: Timestamp::from_seconds(1_700_000_000)?,
        until: None,
        rule: "bounce.hard".to_owned(),
        event_id: EventId::derive(&[&address]),
        provider: "sendgrid".to_owned(),
        source: "default".to_owned(),
        providers: vec!["sendgrid".to_owned()],
        incident: None,
    };
    let key = RecipientKey { tenant: Tenant::default(), recipient: Recipient::email(&address)? };
    let in_force = InForce { position: n as u64, policy: 0, address, decision: Decision::new(vec![cause]) };
    Ok(Write {
        key,
        rows: Vec::new(),
        trimmed: Vec::new(),
        history: History::default(),
        in_force: Some(in_force),
        seen: Vec::new(),
        messages: Vec::new(),
        due: Vec::new(),
        audit: Vec::new(),
        forget: None,
    })
}

/// Sends a request and reads the whole answer; returns milliseconds and the answer.
async fn ask(to: std::net::SocketAddr, content_type: &str, body: &str) -> Result<(f64, String), Box<dyn Error>> {
    let begun = Instant::now();
    let (mut read, mut write) = TcpStream::connect(to).await?.into_split();
    let head = format!(
        "POST /v1/check HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let send = async {
        write.write_all(head.as_bytes()).await?;
        write.write_all(body.as_bytes()).await?;
        Ok::<_, std::io::Error>(write)
    };
    let receive = async {
        let mut answer = Vec::with_capacity(16 << 20);
        read.read_to_end(&mut answer).await.map(|_| answer)
    };
    let (_write, answer) = tokio::try_join!(send, receive)?;
    Ok((begun.elapsed().as_secs_f64() * 1_000.0, String::from_utf8_lossy(&answer).into_owned()))
}

async fn fill(store: &EmbeddedStore, suppressions: usize) -> Result<(), Box<dyn Error>> {
    for from in (0..suppressions).step_by(10_000) {
        let writes: Result<Vec<Write>, _> = (from..suppressions.min(from + 10_000)).map(write).collect();
        store.apply(writes?, &[]).await?;
    }
    Ok(())
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let suppressions: usize = arguments.next().map(|text| text.parse()).transpose()?.unwrap_or(100_000);
    let folder: PathBuf = match arguments.next() {
        Some(folder) => folder.into(),
        None => std::env::temp_dir().join(format!("quell-check-rate-{}", std::process::id())),
    };
    let is_filled = folder.exists();
    let store = EmbeddedStore::open(fjall::Database::builder(&folder).open()?)?;
    let begun = Instant::now();
    if !is_filled {
        fill(&store, suppressions).await?;
    }
    let filled_seconds = begun.elapsed().as_secs_f64();
    let spec = |name: &str| TopicSpec { name: name.into(), partitions: 1, retention_ms: Some(1) };
    let log = Arc::new(MemoryLog::new(&[spec(schemas::topics::EVENTS)]));
    let now = Timestamp::from_seconds(1_800_000_000)?;
    let service = router(LookupDeps {
        store: Arc::new(store),
        append: Arc::clone(&log) as _,
        browse: log,
        clock: Arc::new(move || now),
        policy: Arc::new(CurrentPolicy::new()),
        tokens: Vec::new(),
        open: true,
        keeping: Arc::new(Vec::new()),
        reparse: None,
        spooled: None,
        metrics: None,
        limits: LookupLimits::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let to = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, service).await });

    let mut told = String::new();
    for (form, content_type) in [("json", "application/json"), ("ndjson", "application/x-ndjson"), ("csv", "text/csv")]
    {
        let mut times = Vec::new();
        for run in 0..RUNS {
            // 6.5 % are suppressed; every run asks for others.
            let asked = (0..ASKED).map(|n| {
                let known = (n + run * ASKED).wrapping_mul(7_919) % suppressions.max(1);
                if n % 1_000 < 65 { address(known) } else { format!("free.{run}.{n}@example{}.com", n % 89) }
            });
            let mut body = String::new();
            match form {
                "json" => write!(body, "{}", serde_json::json!({ "recipients": asked.collect::<Vec<_>>() }))?,
                "ndjson" => asked.for_each(|address| body.push_str(&format!("\"{address}\"\n"))),
                _ => body.push_str(&asked.fold("email\n".to_owned(), |csv, address| csv + &address + "\n")),
            }
            let (milliseconds, answer) = ask(to, content_type, &body).await?;
            let found = answer.matches("hard_bounce").count();
            if found != ASKED / 1_000 * 65 {
                return Err(format!("{form}: {found} suppressed: {}", &answer[..answer.len().min(500)]).into());
            }
            times.push(format!("{milliseconds:.1}"));
        }
        write!(told, ",\"{form}_ms\":[{}]", times.join(","))?;
    }
    println!("{{\"suppressions\":{suppressions},\"asked\":{ASKED},\"fill_s\":{filled_seconds:.1}{told}}}");
    Ok(())
}
