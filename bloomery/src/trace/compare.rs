//! Two boots side by side, and the options that make the difference.

use std::collections::BTreeMap;

use build_support::kconfig;

use super::options::Owners;
use super::record::{Span, Trace, grouped};

/// A difference of fewer instructions is left out: the addresses of two kernels differ, and with them hash tables.
const LEAST: i64 = 2_000;

/// Phases, initcalls and options.
pub fn text(old: &Trace, new: &Trace, old_config: &str, new_config: &str, owners: &Owners) -> String {
    let (one, two) = (&old.profile, &new.profile);
    let mut text = format!("{:>15} {:>15} {:>15}  instructions, {}\n", one, two, "more", old.arch);
    text += &row(Some(old.total()), Some(new.total()), &format!("from the reset to {}", new.end));
    text += &format!(
        "{:>15} {:>15} {:>15}  bytes of the kernel\n",
        grouped(old.kernel),
        grouped(new.kernel),
        signed(difference(old.kernel, new.kernel))
    );
    text += "\nphases\n";
    for (name, (first, second)) in pairs(spans(&old.phases), spans(&new.phases)) {
        text += &row(first, second, &name);
    }
    let calls = pairs(calls(old), calls(new));
    let mut changed: Vec<_> = calls.iter().filter(|(_, pair)| more(pair).abs() >= LEAST).collect();
    changed.sort_by_key(|(_, pair)| std::cmp::Reverse(more(pair).abs()));
    text += "\ninitcalls, the largest difference first\n";
    for ((object, function), (first, second)) in changed {
        text += &row(*first, *second, &format!("{function} ({object}: {})", owners.option(object)));
    }
    text += "\noptions by the initcalls of their parts\n";
    for (option, sum) in by_option(&calls, owners) {
        text += &format!("{:>15}  {option}\n", signed(sum));
    }
    text += "\noptions that differ\n";
    let difference = kconfig::diff(old_config, new_config);
    for line in difference.fragment().lines() {
        text += &format!("  {line}\n");
    }
    text
}

type Pair = (Option<u64>, Option<u64>);

/// The values of both sides by name, in the order of the first and then of the second.
fn pairs<K: PartialEq + Clone>(old: Vec<(K, u64)>, new: Vec<(K, u64)>) -> Vec<(K, Pair)> {
    let mut pairs: Vec<(K, Pair)> = old.into_iter().map(|(name, count)| (name, (Some(count), None))).collect();
    for (name, count) in new {
        match pairs.iter_mut().find(|(known, pair)| *known == name && pair.1.is_none()) {
            Some((_, pair)) => pair.1 = Some(count),
            None => pairs.push((name, (None, Some(count)))),
        }
    }
    pairs
}

fn spans(spans: &[Span]) -> Vec<(String, u64)> {
    spans.iter().map(|span| (span.name.clone(), span.count())).collect()
}

fn calls(boot: &Trace) -> Vec<((String, String), u64)> {
    boot.initcalls.iter().map(|call| ((call.object.clone(), call.span.name.clone()), call.span.count())).collect()
}

fn by_option(calls: &[((String, String), Pair)], owners: &Owners) -> Vec<(String, i64)> {
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for ((object, _), pair) in calls {
        *sums.entry(owners.option(object)).or_default() += more(pair);
    }
    let mut sums: Vec<_> = sums.into_iter().filter(|(_, sum)| sum.abs() >= LEAST).collect();
    sums.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.abs()));
    sums
}

fn more(pair: &Pair) -> i64 {
    difference(pair.0.unwrap_or(0), pair.1.unwrap_or(0))
}

fn difference(old: u64, new: u64) -> i64 {
    i64::try_from(new).unwrap_or(i64::MAX) - i64::try_from(old).unwrap_or(i64::MAX)
}

fn row(old: Option<u64>, new: Option<u64>, name: &str) -> String {
    let cell = |count: Option<u64>| count.map_or("-".into(), grouped);
    format!("{:>15} {:>15} {:>15}  {name}\n", cell(old), cell(new), signed(more(&(old, new))))
}

fn signed(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "+" };
    format!("{sign}{}", grouped(number.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_paired_by_name() {
        let old = vec![("a", 1), ("b", 2)];
        let new = vec![("b", 5), ("c", 7)];
        assert_eq!(pairs(old, new), [("a", (Some(1), None)), ("b", (Some(2), Some(5))), ("c", (None, Some(7)))]);
        assert_eq!((more(&(Some(5), Some(2))), more(&(None, Some(7)))), (-3, 7));
        assert_eq!((signed(-1234), signed(5)), ("-1,234".into(), "+5".into()));
    }
}
