//! What happened when: on standard error, and kept in a file beside the logs.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// Lines with the seconds since the beginning. Clones are the same journal.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    begun: Instant,
    file: Arc<Mutex<File>>,
}

impl Journal {
    pub(crate) fn new(dir: &Path) -> std::io::Result<Self> {
        Ok(Self { begun: Instant::now(), file: Arc::new(Mutex::new(File::create(dir.join("journal"))?)) })
    }

    pub(crate) fn say(&self, line: &str) {
        let line = format!("{:7.1} s  {line}\n", self.begun.elapsed().as_secs_f64());
        // A run goes on without its journal.
        let _ = std::io::stderr().write_all(line.as_bytes());
        let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }
}
