//! What programs in a guest report, and how the reports of two guests differ.
//!
//! A program reports by the kernel's log, which shows whole lines in one order on the console:
//! `echo "<2>@EV@ LANE TEXT" >/dev/kmsg`. Programs that run at the same time have lanes of their own, as their order
//! says nothing.

use std::collections::BTreeMap;

use super::console::Console;

/// What a report starts with.
pub const MARK: &str = "@EV@ ";

/// The last words of the kernel.
const ENDS: &[&str] = &["reboot: Power down", "reboot: System halted", "reboot: Restarting system"];

/// The reports of a guest, by lane.
pub type Reports = BTreeMap<String, Vec<String>>;

/// Reads the reports, and how the kernel said that the machine went down (lane `end`).
pub fn reports(console: &Console) -> Reports {
    let mut reports = Reports::new();
    for (_, line) in &console.lines {
        if let Some((_, report)) = line.split_once(MARK) {
            let (lane, text) = report.split_once(' ').unwrap_or((report, ""));
            reports.entry(lane.into()).or_default().push(text.trim_end().into());
        } else if let Some(end) = ENDS.iter().find(|end| line.contains(**end)) {
            reports.entry("end".into()).or_default().push((*end).into());
        }
    }
    reports
}

/// Whether the machine went down.
pub fn ended(console: &Console) -> bool {
    console.lines.iter().any(|(_, line)| ENDS.iter().any(|end| line.contains(end)))
}

/// Who made a report that the other did not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The first guest.
    First,
    /// The second guest.
    Second,
}

/// The reports that only one of two guests made, with their lanes.
pub fn differences(first: &Reports, second: &Reports) -> Vec<(Who, String)> {
    let mut lanes: Vec<&String> = first.keys().chain(second.keys()).collect();
    lanes.sort();
    lanes.dedup();
    let empty = Vec::new();
    let mut found = Vec::new();
    for lane in lanes {
        let (one, other) = (first.get(lane).unwrap_or(&empty), second.get(lane).unwrap_or(&empty));
        found.extend(unmatched(one, other).into_iter().map(|(who, text)| (who, format!("{lane} {text}"))));
    }
    found
}

/// The lines that are not in the longest common subsequence.
fn unmatched(first: &[String], second: &[String]) -> Vec<(Who, String)> {
    // lengths[i][j]: the longest common subsequence of first[i..] and second[j..].
    let mut lengths = vec![vec![0; second.len() + 1]; first.len() + 1];
    for i in (0..first.len()).rev() {
        for j in (0..second.len()).rev() {
            lengths[i][j] = if first[i] == second[j] {
                lengths[i + 1][j + 1] + 1
            } else {
                lengths[i + 1][j].max(lengths[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut found = Vec::new();
    while i < first.len() || j < second.len() {
        if i < first.len() && j < second.len() && first[i] == second[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == second.len() || i < first.len() && lengths[i + 1][j] >= lengths[i][j + 1] {
            found.push((Who::First, first[i].clone()));
            i += 1;
        } else {
            found.push((Who::Second, second[j].clone()));
            j += 1;
        }
    }
    found
}
