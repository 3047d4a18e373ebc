//! The roles of `quell serve` over a real broker and a real store, beside minimal programs on the same servers.
//!
//! The gateway is measured on servers of its own. All else shares a cluster, as each goes on where the one before ended:
//! webhooks in the log become canonical events, these state, and latency and memory are measured over that state.

pub(crate) mod ceiling;
mod counts;
mod deltas;
mod fleet;
mod follow;
mod gateway;
mod latency;
mod memory;
pub(crate) mod minimal;
mod normalizer;
mod pace;
mod role;
mod servers;
mod suppressor;
mod warm_up;

use crate::{Measure, Options, say};
use serde_json::{Map, Value};
use servers::Cluster;

/// The cluster of all measures but the gateway's, and how far its pipeline is.
#[derive(Debug)]
struct Pipeline {
    cluster: Cluster,
    /// Webhooks that were appended by hand.
    webhooks: u64,
    /// What was measured of the normalizer.
    normalized: Vec<normalizer::Run>,
    /// Events a second that the suppressor held, once that is known.
    sustained: Option<f64>,
}

impl Pipeline {
    fn start(options: &Options) -> anyhow::Result<Self> {
        Ok(Self { cluster: Cluster::start(options)?, webhooks: 0, normalized: Vec::new(), sustained: None })
    }
}

/// Measures these, in their order.
pub(crate) fn measure(measures: &[Measure], options: &Options) -> anyhow::Result<Value> {
    anyhow::ensure!(options.partitions > 0, "--partitions must be above 0");
    anyhow::ensure!(options.latency_seconds > 0.0 && options.minutes > 0.0, "times must be above 0");
    let mut document = Map::new();
    let mut pipeline: Option<Pipeline> = None;
    for &measure in measures {
        say(&format!("measuring {}", measure.word()));
        if measure == Measure::Gateway {
            document.insert(measure.word(), gateway::measure(options)?);
            continue;
        }
        let pipeline = match &mut pipeline {
            Some(pipeline) => pipeline,
            none => none.insert(Pipeline::start(options)?),
        };
        let value = match measure {
            // The suppressor's rounds normalize what they need: they are the normalizer's rounds too.
            Measure::Normalizer if measures.contains(&Measure::Suppressor) => continue,
            Measure::Normalizer => normalizer::measure(pipeline, options)?,
            Measure::Suppressor => {
                let value = suppressor::measure(pipeline, options)?;
                if measures.contains(&Measure::Normalizer) {
                    document.insert(Measure::Normalizer.word(), normalizer::show(&pipeline.normalized));
                }
                value
            }
            Measure::Latency => latency::measure(pipeline, options)?,
            Measure::Memory => memory::measure(pipeline, options)?,
            other => anyhow::bail!("{} is no measure of this engine", other.word()),
        };
        document.insert(measure.word(), value);
    }
    Ok(Value::Object(document))
}
