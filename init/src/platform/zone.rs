//! Whether a value of `TZ` is one that musl can use. Its tzset(3) takes UTC, without a word, for one that it cannot.

use crate::sys::files;

/// Where musl looks for the file of a zone (src/time/__tz.c).
const DIRS: &[&str] = &["/usr/share/zoneinfo", "/share/zoneinfo", "/etc/zoneinfo"];
/// How the file of a zone begins (tzfile(5)).
const MAGIC: &[u8] = b"TZif";

/// Says why programs with this `TZ` have UTC instead of a zone's time; nothing where they have what it says.
pub fn fault(zone: &str) -> Option<String> {
    // A path is not looked at: what is mounted there need not answer.
    if zone.is_empty() || is_rule(zone) || zone.trim_start_matches(':').starts_with(['/', '.']) {
        return None;
    }
    let name = zone.strip_prefix(':').unwrap_or(zone);
    let is_there = |dir: &&str| files::read_file(&format!("{dir}/{name}")).is_ok_and(|file| file.starts_with(MAGIC));
    if !name.contains('.') && DIRS.iter().any(is_there) {
        return None;
    }
    let dir = DIRS[0];
    Some(format!(
        "TZ={zone} names no file in {dir}, so its times are in UTC; hint: a rule needs no file: TZ=CET-1CEST,M3.5.0,M10.5.0/3"
    ))
}

/// Whether musl takes it for a rule (POSIX, "Environment Variables"): a name, in angle brackets or of letters, and an offset.
fn is_rule(zone: &str) -> bool {
    let end = match zone.strip_prefix('<') {
        Some(rest) => rest.find('>').map_or(zone.len(), |at| at + 2),
        None => zone.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(zone.len()),
    };
    let (name, rest) = zone.split_at(end);
    !name.is_empty() && (rest.starts_with(['+', '-']) || rest.starts_with(|digit: char| digit.is_ascii_digit()))
        || ["UTC", "GMT"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_need_no_file() {
        for zone in
            ["", "UTC", "UTC0", "GMT", "CET-1", "CET-1CEST,M3.5.0,M10.5.0/3", "<+0330>-3:30", ":/a/file", "./file"]
        {
            assert_eq!(fault(zone), None, "{zone}");
        }
    }

    #[test]
    fn a_name_without_a_file_is_a_fault() {
        for zone in ["No/Such", ":No/Such", "NOSUCH", "<unfinished", "Etc/../No", "No.Such"] {
            let said = fault(zone).unwrap_or_else(|| panic!("{zone} has no fault"));
            assert!(said.starts_with(&format!("TZ={zone} names no file in /usr/share/zoneinfo")), "{said}");
        }
    }
}
