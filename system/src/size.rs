//! Sizes as people write them.

use anyhow::{Context as _, Result, bail};

/// Units and their bytes. A single letter is a power of two, as QEMU and dd read it.
const UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("K", 1 << 10),
    ("MiB", 1 << 20),
    ("M", 1 << 20),
    ("GiB", 1 << 30),
    ("G", 1 << 30),
    ("TiB", 1 << 40),
    ("T", 1 << 40),
];

/// The largest size: an ext4 file system with blocks of 4 KiB has at most 16 TiB (ext4(5) without the 64bit feature).
pub const MAX: u64 = 16 << 40;

/// Reads a size such as `5 MB`, `64 MiB` or `2G`, in bytes.
///
/// # Errors
/// No number, no known unit, zero, or more than [`MAX`].
pub fn parse(text: &str) -> Result<u64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit.trim()) else {
        bail!("`{text}` is no size: write a number and a unit, such as `512 MiB`, `2 GiB` or `5 MB`");
    };
    let number: u64 = number.parse().with_context(|| format!("`{text}` is no size: it has no number that fits"))?;
    match number.checked_mul(*factor) {
        Some(0) => bail!("`{text}` is no size: it is zero"),
        Some(bytes) if bytes <= MAX => Ok(bytes),
        _ => bail!("`{text}` is too large: the largest size is {}", show(MAX)),
    }
}

/// A size for people: the largest binary unit that it has whole, else decimal megabytes or kilobytes.
pub fn show(bytes: u64) -> String {
    for (unit, factor) in [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{} {unit}", bytes / factor);
        }
    }
    match bytes {
        1_000_000.. => format!("{:.2} MB", bytes as f64 / 1e6),
        1_000.. => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{bytes} bytes"),
    }
}

/// A size in decimal megabytes, for sizes that stand below each other.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_decimal_or_binary() {
        for (text, bytes) in
            [("5 MB", 5_000_000), ("64M", 64 << 20), ("64 MiB", 64 << 20), ("2G", 2 << 30), ("1 TiB", 1 << 40)]
        {
            assert_eq!(parse(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn a_bad_size_says_why() {
        for (text, why) in [
            ("256 miles", "such as `512 MiB`"),
            ("MiB", "no number"),
            ("", "such as"),
            ("0 MiB", "zero"),
            ("17179869186 GiB", "too large"),
            ("17 TiB", "16 TiB"),
            ("99999999999999999999 B", "no number that fits"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_size_is_shown_in_its_largest_whole_unit() {
        assert_eq!(show(2 << 30), "2 GiB");
        assert_eq!(show(5_123_456), "5.12 MB");
    }
}
