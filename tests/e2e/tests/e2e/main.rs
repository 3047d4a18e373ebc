//! The real binary, over real HTTP, killed again and again.

mod instance;
mod kill;
mod oracle;
mod shutdown;
mod traffic;
