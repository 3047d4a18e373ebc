//! The spool against a log, a disk and a receipts table that do as they are told.

mod bed;
mod outages;
mod queue;
mod spooling;
