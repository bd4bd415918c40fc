//! The one program that a system is for.

use build_support::Result;
use disk::Tree;
use system::profile::Service;

/// Adds its file (services(5)).
pub fn add(tree: &mut Tree, service: &Service) -> Result<()> {
    let command = toml::Value::String(service.command.clone());
    let settings: String = service.settings.iter().map(|line| format!("{line}\n")).collect();
    let path = format!("etc/services.d/{}.toml", service.name);
    tree.bytes(&path, format!("command = {command}\n{settings}"), 0o644, "profile")
}
