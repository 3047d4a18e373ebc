//! What is being done, on standard error.

use indicatif::{ProgressBar, ProgressStyle};
use std::{io::Write as _, time::Instant};

/// Says each step with the time since the beginning.
#[derive(Debug)]
pub(crate) struct Progress {
    begun: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now() }
    }

    /// One line. A terminal that is gone is no reason to stop.
    pub(crate) fn say(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "[{:>5.1} s] {text}", self.begun.elapsed().as_secs_f64());
    }

    /// A bar, drawn where standard error is a terminal.
    pub(crate) fn bar(&self, what: &str, length: usize) -> ProgressBar {
        let bar = ProgressBar::new(u64::try_from(length).unwrap_or(u64::MAX));
        if let Ok(style) = ProgressStyle::with_template("          {msg} {wide_bar} {human_pos}/{human_len}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar
    }
}
