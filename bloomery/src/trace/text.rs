//! A boot as a table.

use super::record::{Trace, grouped};

/// Phases, parts, levels of initcalls, and the most expensive ones.
pub fn table(boot: &Trace, top: usize) -> String {
    let total = boot.total();
    let mut text = format!(
        "{} for {}: {} instructions from the reset to {}; the kernel has {} bytes\n\nphases\n",
        boot.profile,
        boot.arch,
        grouped(total),
        boot.end,
        grouped(boot.kernel)
    );
    for phase in &boot.phases {
        text += &row(phase.count(), total, &phase.name);
    }
    text += "\nparts of them\n";
    let mut parts: Vec<_> = boot.parts.iter().collect();
    parts.sort_by_key(|part| part.begin);
    for part in parts {
        text += &row(part.count(), total, &part.name);
    }
    text += "\ninitcalls by level\n";
    for (level, count, sum) in levels(boot) {
        text += &row(sum, total, &format!("{level}: {count}"));
    }
    text += &format!("\nthe most expensive of {} initcalls\n", boot.initcalls.len());
    let mut calls: Vec<_> = boot.initcalls.iter().collect();
    calls.sort_by_key(|call| std::cmp::Reverse(call.span.count()));
    for call in calls.into_iter().take(top) {
        text += &row(call.span.count(), total, &format!("{} ({}, {})", call.span.name, call.object, call.level));
    }
    text
}

/// Each level in the order of the calls, with its calls and their instructions.
pub fn levels(boot: &Trace) -> Vec<(&'static str, usize, u64)> {
    let mut levels: Vec<(&'static str, usize, u64)> = Vec::new();
    for call in &boot.initcalls {
        match levels.iter_mut().find(|(level, ..)| *level == call.level) {
            Some((_, count, sum)) => {
                *count += 1;
                *sum += call.span.count();
            }
            None => levels.push((call.level, 1, call.span.count())),
        }
    }
    levels
}

/// Instructions, their share in percent, and a name.
fn row(count: u64, total: u64, name: &str) -> String {
    let permille = count * 1000 / total.max(1);
    format!("{:>15} {:>3}.{} %  {name}\n", grouped(count), permille / 10, permille % 10)
}
