//! The example of a fleet, `image/examples/fleet`: nodes that one web server boots, each with a name of its own.

mod common;

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use build_support::Arch;
use common::network::is_allowed;
use common::outputs::Outputs;
use common::{limit, report, slots};

/// Its profile, from the project's root.
const PROFILE: &str = "image/examples/fleet/fleet.toml";
/// Seconds in which a further node must be up, by emulation of all of them on two processors.
const SILENCE: f64 = 200.0;

#[test]
fn two_nodes_from_one_web_server() -> Result<()> {
    boot(2)
}

#[test]
#[ignore = "takes minutes of both processors"]
fn eight_nodes_from_one_web_server() -> Result<()> {
    boot(8)
}

/// As a person does it.
fn boot(nodes: usize) -> Result<()> {
    let path = build_support::Dirs::find()?.root.join(PROFILE).display().to_string();
    let Some(outputs) = Outputs::of(Arch::host()?, &path)? else { return Ok(()) };
    if !is_allowed() {
        return Ok(());
    }
    let _slots = slots::all();
    let output = Command::new(outputs.root.join("image/examples/fleet/fleet.sh"))
        .arg(nodes.to_string())
        .env("OUTPUTS", &outputs.dir)
        .env("SILENCE", limit(SILENCE).as_secs().to_string())
        .output()
        .context("cannot start fleet.sh")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    report(text.trim_end());
    for node in 0..nodes {
        let line = format!("node{node} 192.168.77.1{node} up after ");
        ensure!(text.lines().any(|other| other.starts_with(&line)), "no node{node} in:\n{text}");
    }
    ensure!(text.contains(&format!("all {nodes} nodes are up; ")), "{text}");
    Ok(())
}
