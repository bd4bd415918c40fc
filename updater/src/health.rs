//! Whether the system has come up, by what PID 1 says of its services.

use core::time::Duration;

use init_base::connection;
use init_base::protocol::{self, Health, Listed};

/// This service's own name, which is ready before it knows.
const OWN: &str = "update";

/// Asks whether all services have been up for a time.
///
/// # Errors
/// The service that has not, or why PID 1 does not say it.
pub fn check(socket: &str, settle: Duration) -> Result<(), String> {
    let text = connection::ask(socket, "list").map_err(|failure| match failure {
        connection::Failure::Refused(refusal) => refusal.message,
        connection::Failure::Silent(message) => message,
    })?;
    judge(&text, settle)
}

/// The services that PID 1 makes for each interface are not the system's: a cable may be out.
fn judge(text: &str, settle: Duration) -> Result<(), String> {
    let services = text.lines().filter_map(protocol::listed);
    let mut services = services.filter(|service| service.name != OWN && !service.name.contains('@'));
    match services.find(|service| !is_up(service, settle)) {
        Some(service) => Err(format!("the service {} is {}", service.name, service.state)),
        None => Ok(()),
    }
}

fn is_up(service: &Listed<'_>, settle: Duration) -> bool {
    match service.health {
        Health::Up => service.age >= settle,
        Health::Down => true,
        Health::Changing | Health::Failed => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_counts_but_its_own() {
        let judge = |text: &str| judge(text, Duration::from_secs(10));
        assert_eq!(
            judge("echo\tready\tup\t9\t10000\t0\t\nupdate\tready\tup\t8\t1\t0\t\nx\tstopped\tdown\t-\t1\t0\t\n"),
            Ok(())
        );
        assert_eq!(judge("dhcp@eth0\tstarting\tchanging\t9\t5\t0\t\n"), Ok(()));
        let error = "the service echo is ready";
        assert_eq!(judge("echo\tready\tup\t9\t9999\t0\t\n"), Err(error.into()));
        assert_eq!(judge("echo\tbackoff\tchanging\t-\t99999\t3\t\n"), Err("the service echo is backoff".into()));
        assert_eq!(judge("echo\tfailed\tfailed\t-\t99999\t3\t\n"), Err("the service echo is failed".into()));
    }
}
