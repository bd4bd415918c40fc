//! `/etc/updater.conf`, which the build writes: lines `NAME = VALUE` with the key that updates are signed with (`key`, 64 hexadecimal
//! digits of an Ed25519 public key) and the product that they must be for (`product`).

use ed25519_compact::PublicKey;

const PATH: &str = "/etc/updater.conf";

/// What the build says.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// The key.
    pub key: PublicKey,
    /// The product.
    pub product: String,
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is not there or incomplete.
    pub fn read() -> Result<Config, String> {
        let text = std::fs::read_to_string(PATH).map_err(|error| format!("cannot read {PATH}: {error}"))?;
        Config::parse(&text).ok_or_else(|| format!("{PATH} has no key or no product"))
    }

    fn parse(text: &str) -> Option<Config> {
        let value = |wanted: &str| {
            let mut pairs = text.lines().filter_map(|line| line.split_once('='));
            pairs.find(|(name, _)| name.trim() == wanted).map(|(_, value)| value.trim())
        };
        let key = PublicKey::from_slice(&bytes(value("key")?)?).ok()?;
        Some(Config { key, product: value("product")?.into() })
    }
}

fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let pairs = hexadecimal.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_a_product() {
        let text = format!("key = {}\nproduct = mine x86_64\n", "0a".repeat(32));
        let config = Config::parse(&text).unwrap();
        assert_eq!((config.key.as_ref(), config.product.as_str()), (&[10; 32][..], "mine x86_64"));
        for wrong in ["", "key = 0a\nproduct = x\n", &text.replace("product", "produce"), &text.replace("0a", "xx")] {
            assert_eq!(Config::parse(wrong), None, "{wrong}");
        }
    }
}
