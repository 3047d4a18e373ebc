//! Files that are there whole or not at all: written beside their place as `NAME.part` and renamed at the end. Standard
//! output is held back in a file without a name until the end, for the same reason.

use anyhow::Context as _;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Seek as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// A file under way. Dropped before [`finish`](Self::finish), it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct PartFile {
    place: Place,
    writer: Option<BufWriter<File>>,
}

#[derive(Debug)]
enum Place {
    Stdout,
    File { part: PathBuf, path: PathBuf },
}

impl PartFile {
    /// For a path; `-` is standard output.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let (place, file) = if path.as_os_str() == "-" { (Place::Stdout, unnamed()?) } else { beside(path)? };
        Ok(Self { place, writer: Some(BufWriter::with_capacity(256 * 1_024, file)) })
    }

    /// Makes it durable and puts it in its place.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        let writer = self.writer.take().context("a file was finished twice")?;
        let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error).context("cannot write")?;
        match &self.place {
            Place::Stdout => {
                file.rewind()?;
                let copied = io::copy(&mut file, &mut io::stdout().lock()).map(|_| ());
                match copied {
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                    copied => copied.context("cannot write to standard output"),
                }
            }
            Place::File { part, path } => {
                file.sync_all().with_context(|| format!("cannot write {}", part.display()))?;
                fs::rename(part, path).with_context(|| format!("cannot put {} in its place", path.display()))
            }
        }
    }
}

impl Write for PartFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.writer {
            Some(writer) => writer.write(bytes),
            None => Err(io::Error::other("the file is finished")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if let (Some(_), Place::File { part, .. }) = (&self.writer, &self.place) {
            // What cannot be removed still has the name of an unfinished file.
            let _ = fs::remove_file(part);
        }
    }
}

fn beside(path: &Path) -> anyhow::Result<(Place, File)> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let open = OpenOptions::new().write(true).create(true).truncate(true).open(&part);
    let file = open
        .with_context(|| format!("cannot write {}: does its folder exist, and may you write there?", part.display()))?;
    Ok((Place::File { part, path: path.to_owned() }, file))
}

/// A file that only we can reach, and that is gone with us.
fn unnamed() -> anyhow::Result<File> {
    let folder = std::env::temp_dir();
    let mut last = None;
    for attempt in 0..16_u32 {
        let path = folder.join(format!("quell-{}-{attempt}.part", std::process::id()));
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
        .with_context(|| format!("cannot write in {}: set TMPDIR", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        fs::write(&path, "old").unwrap();
        let mut file = PartFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        file.flush().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        let mut file = PartFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn says_where_it_cannot_write() {
        let error = PartFile::create(Path::new("/nowhere/at/all.csv")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all.csv.part"), "{error}");
    }
}
