//! Log lines: where they go, how many there may be, and what never stands in one.

mod limit;
mod mask;

use crate::telemetry::{LogFormat, TelemetryError};
use limit::Limiter;
use std::{
    fmt,
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tracing::{
    Event, Level, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::{EnvFilter, Layer, fmt::MakeWriter, layer::Context, prelude::*};

/// What an operator switches on to look closely may say so many times more.
const CLOSELY: u64 = 100;
/// How often it is looked for lines that were left out.
const EVERY: Duration = Duration::from_secs(1);
/// The lines that tell of others, which are not counted themselves.
const TARGET: &str = "quell::logs";

/// Logging, for as long as it is held: dropped, it tells what was left out and not told yet.
#[derive(Debug)]
pub struct Logs {
    limit: Limit,
    stop: Option<mpsc::Sender<()>>,
    ticker: Option<JoinHandle<()>>,
}

/// Starts logging to standard error: a filter like `info,ingest_gateway=debug`; colours only on a terminal; from each place
/// in the code so many lines a minute (0: any number), a hundred times as many of `debug` and `trace`, and then one line
/// that says how many were left out. What looks like an address is masked.
pub fn init_logs(format: LogFormat, filter: &str, lines_per_minute: u64) -> Result<Logs, TelemetryError> {
    let limit = Limit::new(lines_per_minute);
    let is_terminal = io::stderr().is_terminal();
    let lines = subscriber(format, filter, limit.clone(), is_terminal, || Masked(io::stderr()))?;
    tracing::subscriber::set_global_default(lines).map_err(|error| TelemetryError::Twice(error.to_string()))?;
    let (stop, stopped) = mpsc::channel();
    let watched = limit.clone();
    let ticker = std::thread::Builder::new().name("logs".to_owned()).spawn(move || {
        while stopped.recv_timeout(EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
            watched.tell(false);
        }
    });
    let ticker = ticker.map_err(|error| TelemetryError::Twice(format!("no thread for it: {error}")))?;
    Ok(Logs { limit, stop: Some(stop), ticker: Some(ticker) })
}

impl Drop for Logs {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(ticker) = self.ticker.take() {
            // It only fails by a panic, which has been told.
            drop(ticker.join());
        }
        self.limit.tell(true);
    }
}

fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    limit: Limit,
    with_ansi: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + use<W>, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|error| TelemetryError::Filter { filter: filter.to_owned(), detail: error.to_string() })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(with_ansi).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    Ok(tracing_subscriber::registry().with(filter).with(limit).with(lines))
}

/// One limit for the process. Clones are one.
#[derive(Debug, Clone)]
struct Limit {
    lines_per_minute: u64,
    began: Instant,
    limiter: Arc<Mutex<Limiter<Place>>>,
}

/// A place in the code that writes lines.
#[derive(Clone)]
struct Place(&'static tracing::Metadata<'static>);

impl Place {
    fn id(&self) -> Identifier {
        self.0.callsite()
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Place {}

impl std::hash::Hash for Place {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl Limit {
    fn new(lines_per_minute: u64) -> Self {
        Self { lines_per_minute, began: Instant::now(), limiter: Arc::default() }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Tells what was left out in windows that are over, or in all. Not while a line is being written.
    fn tell(&self, all: bool) {
        let left_out = self.limiter.lock().unwrap_or_else(PoisonError::into_inner).left_out(self.now_ms(), all);
        for limit::LeftOut { place: Place(of), n_lines, message } in left_out {
            let (at, line) = (of.target(), of.line().unwrap_or(0));
            // Levels are part of a place in the code.
            match *of.level() {
                Level::ERROR => {
                    tracing::error!(target: TARGET, at, line, like = message, "suppressed {n_lines} similar")
                }
                Level::WARN => tracing::warn!(target: TARGET, at, line, like = message, "suppressed {n_lines} similar"),
                Level::INFO => tracing::info!(target: TARGET, at, line, like = message, "suppressed {n_lines} similar"),
                _ => tracing::debug!(target: TARGET, at, line, like = message, "suppressed {n_lines} similar"),
            }
        }
    }
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let of = event.metadata();
        if self.lines_per_minute == 0 || of.target() == TARGET {
            return true;
        }
        let most = if *of.level() > Level::INFO { CLOSELY } else { 1 } * self.lines_per_minute;
        let message = || {
            let mut message = Message::default();
            event.record(&mut message);
            message.0
        };
        let now_ms = self.now_ms();
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner).admits(&Place(of), most, now_ms, message)
    }
}

/// The message among an event's fields.
#[derive(Debug, Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// Masks what looks like an address. Lines come whole, one a write.
struct Masked<W>(W);

impl<W: Write> Write for Masked<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) => self.0.write_all(mask::mask(text).as_bytes())?,
            Err(_) => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that something writes, and what the limit tells afterwards.
    fn written(format: LogFormat, lines_per_minute: u64, filter: &str, work: impl FnOnce()) -> Vec<String> {
        let (sink, limit) = (Sink::default(), Limit::new(lines_per_minute));
        let writer = sink.clone();
        let lines = subscriber(format, filter, limit.clone(), false, move || Masked(writer.clone())).unwrap();
        tracing::subscriber::with_default(lines, || {
            work();
            limit.tell(true);
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_for_machines_is_json_with_its_ids_and_no_address() {
        let lines = written(LogFormat::Json, 60, "info", || {
            let error = "550 no such user jane@example.com";
            tracing::warn!(receipt_id = "r0.1.2.x", event_id = "abc", error, "line\nbreaks of +15551234567");
        });
        assert_eq!(lines.len(), 1);
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((&line["receipt_id"], &line["event_id"]), (&"r0.1.2.x".into(), &"abc".into()));
        assert_eq!(line["message"], "line\nbreaks of +1555***67");
        assert_eq!(line["error"], "550 no such user j***@example.com");
        assert_eq!((&line["level"], line["timestamp"].is_string()), (&"WARN".into(), true));
    }

    #[test]
    fn a_flood_writes_so_many_lines_and_then_how_many_more() {
        let lines = written(LogFormat::Json, 5, "info", || {
            for n in 0..100_000 {
                tracing::warn!(n, "refused");
                tracing::debug!(n, "not asked for");
            }
            (0..3).for_each(|_| tracing::error!("another"));
        });
        let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 5 + 3 + 1);
        let told = &lines[8];
        assert_eq!((&told["message"], &told["like"]), (&"suppressed 99995 similar".into(), &"refused".into()));
        assert_eq!((&told["level"], &told["target"]), (&"WARN".into(), &TARGET.into()));
        assert!(told["at"].as_str().unwrap().starts_with("service::logs"), "{told}");
    }

    #[test]
    fn a_wrong_filter_is_an_error_that_says_how_to_write_one() {
        let error = init_logs(LogFormat::Text, "a=b=c", 1).unwrap_err();
        assert!(error.to_string().contains("write e.g."), "{error}");
    }

    #[test]
    fn what_is_asked_for_closely_may_be_more_and_0_is_no_limit() {
        let flood = || (0..5_000).for_each(|_| tracing::debug!("closely"));
        assert_eq!(written(LogFormat::Text, 5, "debug", flood).len(), 501);
        assert_eq!(written(LogFormat::Text, 0, "debug", flood).len(), 5_000);
        assert_eq!(written(LogFormat::Text, 5, "info", flood).len(), 0);
    }
}
