//! The binary's commands against an instance of its own, end to end: what they print and how they exit.

mod answers;
mod instance;
mod lists;
mod operations;
