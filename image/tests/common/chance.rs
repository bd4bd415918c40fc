//! Moments by chance, that a seed repeats.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::report;

/// Numbers by chance (Marsaglia, "Xorshift RNGs", 2003).
pub struct Chance(u64);

impl Chance {
    /// From `BLOOMERY_TEST_SEED`, or another one at each run, which is said.
    pub fn new() -> Result<Chance> {
        let seed = match std::env::var("BLOOMERY_TEST_SEED") {
            Ok(seed) => seed.parse()?,
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64 | 1,
        };
        report(&format!("BLOOMERY_TEST_SEED={seed}"));
        Ok(Chance(seed))
    }

    /// A time below a limit.
    pub fn below(&mut self, limit: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        limit.mul_f64((self.0 >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

/// How often a test lets the power fail: `BLOOMERY_TEST_POWER_CUTS`, or once.
pub fn power_cuts() -> Result<usize> {
    Ok(std::env::var("BLOOMERY_TEST_POWER_CUTS").map_or(Ok(1), |number| number.parse())?)
}
