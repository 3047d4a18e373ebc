//! Resident memory of `quell up`: at rest, under load, at rest over a big store.

use crate::{
    Options, check,
    instance::Instance,
    load,
    requests::{Form, GENERIC_1, GENERIC_100, Keys},
    run_directory,
    stats::{floor, round},
    usage,
};
use serde_json::{Value, json};
use std::time::Duration;

const LOADS: [(usize, Form); 2] = [(64, GENERIC_1), (256, GENERIC_100)];

/// All of it.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Value> {
    let keys = Keys::new()?;
    let directory = run_directory(&options.data)?;
    let instance = Instance::start(&options.quell, directory.path(), &keys)?;
    let rest = check::idle_mb(&instance)?;
    let mut loads = Vec::new();
    let measured = Duration::from_secs_f64(options.seconds.max(5.0));
    for (connections, form) in LOADS {
        let requests = keys.requests(form)?;
        let outcome = load::run(instance.gateway, instance.pid(), &requests, connections, measured)?;
        loads.push(json!({
            "form": form.name,
            "connections": connections,
            "webhooks": outcome.taken(),
            "peak_mb": round(usage::peak_mb(instance.pid())?),
            "resident_after_mb": round(usage::resident_mb(instance.pid())?),
        }));
    }
    drop(instance);
    let mut document = json!({ "at_rest_mb": round(rest), "under_load": loads });
    if let Some(&suppressions) = options.suppressions.iter().max() {
        let instance = Instance::start(&options.quell, &check::filled(&options.data, suppressions)?, &keys)?;
        let idle = check::idle_mb(&instance)?;
        document["idle_over_store"] = json!({ "suppressions": suppressions, "resident_mb": round(idle) });
        document["floors"] = json!([floor("idle over the biggest store, MB", idle, 300.0, false)]);
    }
    Ok(document)
}
