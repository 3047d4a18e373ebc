//! What every service needs and no business of any: configuration, telemetry, admin endpoints, the HTTP server and
//! client, shutdown, the clock. This crate knows neither recipients nor schemas nor providers.

pub mod admin;
pub mod clock;
pub mod config;
pub mod http_client;
pub mod logs;
pub mod problem;
pub mod serve;
pub mod shutdown;
pub mod telemetry;
pub mod traces;

pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{ConfigError, Secret};
pub use problem::Problem;
pub use shutdown::Shutdown;
pub use telemetry::Metrics;
