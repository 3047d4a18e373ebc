//! Writes `deploy/grafana/dashboards` anew: `cargo run -p watch-tests --bin dashboards`.

use std::fs;

fn main() -> std::io::Result<()> {
    let folder = watch_tests::repository("deploy/grafana/dashboards");
    fs::create_dir_all(&folder)?;
    for dashboard in watch_tests::dashboards::all() {
        fs::write(folder.join(format!("{}.json", dashboard.uid)), dashboard.file())?;
    }
    Ok(())
}
