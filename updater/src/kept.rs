//! The text of the settings that are kept: lines as in BLOOMERY.TXT (settings(5)), and before them the serial number of the update that
//! brought them.

use init_base::settings;

const SERIAL: &str = "# serial ";

/// The text with names set, or taken out where there is no value. Lines of others stay as they are.
///
/// # Errors
/// What is wrong with a setting, for people.
pub fn change(text: &str, changes: &[(String, Option<String>)]) -> Result<String, String> {
    let name_of = |line: &str| line.split_once('=').map(|(name, _)| name.trim().to_ascii_lowercase());
    let is_changed = |line: &str| {
        let name = name_of(line);
        changes.iter().any(|(changed, _)| Some(changed.to_ascii_lowercase()) == name)
    };
    let mut lines: Vec<String> = text.lines().filter(|line| !is_changed(line)).map(String::from).collect();
    for (name, value) in changes {
        lines.extend(value.as_ref().map(|value| format!("{name} = {value}")));
    }
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    check(&text)?;
    Ok(text)
}

/// Whether all lines are settings.
///
/// # Errors
/// The first that is none.
pub fn check(text: &str) -> Result<(), String> {
    match settings::check(text.as_bytes()).first() {
        None => Ok(()),
        Some(fault) if fault.source.line() == 0 => Err(fault.message.clone()),
        Some(fault) => Err(format!("line {}: {}", fault.source.line(), fault.message)),
    }
}

/// The serial number in a text; 0 of one that was changed on the machine alone.
pub fn serial(text: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(SERIAL)?.trim().parse().ok()).unwrap_or(0)
}

/// The text of an update with its serial number.
pub fn with_serial(serial: u64, text: &str) -> String {
    format!("{SERIAL}{serial}\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str, words: &[(&str, Option<&str>)]) -> Result<String, String> {
        let changes: Vec<_> = words.iter().map(|(name, value)| (name.to_string(), value.map(String::from))).collect();
        super::change(text, &changes)
    }

    #[test]
    fn others_lines_stay() {
        let text = "# serial 7\nhostname = a\ndns = 9.9.9.9\n";
        assert_eq!(change(text, &[("Hostname", Some("b")), ("dns", None)]).unwrap(), "# serial 7\nHostname = b\n");
        assert_eq!(change("", &[("ntp", Some("10.0.0.1"))]).unwrap(), "ntp = 10.0.0.1\n");
        assert_eq!(serial(&change(text, &[("dns", None)]).unwrap()), 7);
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        assert!(
            change("", &[("hostnam", Some("b"))]).unwrap_err().starts_with("line 1: there is no setting 'hostnam'")
        );
        assert!(change("dns = 9.9.9.9\n", &[("hostname", Some("a b"))]).unwrap_err().starts_with("line 2: "));
        assert!(check(&"# x\n".repeat(9999)).unwrap_err().contains("16384 bytes"));
    }

    #[test]
    fn the_serial_number_is_in_the_text() {
        assert_eq!(serial(&with_serial(1_764_500_000, "hostname = a\n")), 1_764_500_000);
        assert_eq!((serial("hostname = a\n"), serial("# serial x\n")), (0, 0));
        assert_eq!(check(&with_serial(1, "hostname = a\n")), Ok(()));
    }
}
