//! What a disk may refuse.

use std::{
    fs::File,
    io::{self, Write as _},
};

/// The calls that make records durable; a second implementation fails when a test says so.
pub(super) trait Disk: Send + std::fmt::Debug {
    /// Appends all the bytes.
    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()>;

    /// Returns once the file's bytes are on disk.
    fn sync(&mut self, file: &File) -> io::Result<()>;
}

#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}
