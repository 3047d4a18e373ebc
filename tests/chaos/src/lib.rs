//! Quell over a real broker and a real store, with instances killed and servers taken away all the time, judged by an
//! oracle that only saw what the senders sent and which answers they got.

mod cases;
mod cluster;
mod deltas;
mod dice;
mod erasures;
mod fact;
mod faults;
mod fleet;
mod http;
mod instance;
mod journal;
mod judge;
mod load;
mod oracle;
mod providers;
mod report;
mod rolling;
mod run;
mod settle;
mod topic;
mod webhook;

pub use report::Report;
pub use run::{BrokerDropped, Options, Plan, run};
