//! Good webhooks, sent while an attack runs. Every one must be answered 2xx, in time.

use crate::{keys::Keys, wire::Line};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Between two connections, so that the attack has some of the machine too.
const PAUSE: Duration = Duration::from_millis(4);
/// However short an attack is, so many go beside it.
const SENT_MIN: u64 = 30;

/// A sender of good webhooks.
#[derive(Debug)]
pub(crate) struct Beside {
    stop: mpsc::Sender<()>,
    sender: JoinHandle<Result<u64, String>>,
}

impl Beside {
    pub(crate) fn start(gateway: SocketAddr, keys: Arc<Keys>) -> Self {
        let (stop, stopped) = mpsc::channel();
        let sender = std::thread::spawn(move || {
            let (mut sent, mut stopping) = (0, false);
            while !stopping || sent < SENT_MIN {
                sent += on_one_connection(gateway, &keys)?;
                stopping |= stopped.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout);
            }
            Ok(sent)
        });
        Self { stop, sender }
    }

    /// How many were sent and taken.
    pub(crate) fn finish(self) -> u64 {
        // It hangs up by itself where something went wrong.
        let _ = self.stop.send(());
        let sent = self.sender.join().expect("it does not panic");
        sent.unwrap_or_else(|error| panic!("a good webhook sent beside the attack: {error}"))
    }
}

/// Three webhooks, each after the answer to the one before.
fn on_one_connection(gateway: SocketAddr, keys: &Keys) -> Result<u64, String> {
    let requests = [keys.generic().kept(), keys.sendgrid().kept(), keys.mailgun().bytes()];
    let said = |error: std::io::Error| error.to_string();
    let mut line = Line::open(gateway).map_err(said)?;
    for request in &requests {
        line.send(request).map_err(said)?;
        match line.answer().map_err(said)? {
            Some(answer) if (200..300).contains(&answer.status) => {}
            Some(answer) => return Err(format!("{answer:?}")),
            None => return Err("the connection was closed without an answer".to_owned()),
        }
    }
    Ok(requests.len() as u64)
}
