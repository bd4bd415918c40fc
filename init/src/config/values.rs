//! Values with a meaning of their own: times, sizes, signals, limits, capabilities. [`crate::service::file`] calls it.

use core::time::Duration;

use super::table::Value;
use crate::sys::privileges::{Limit, Resource};
use crate::sys::signal::Signal;
use init_base::names::nearest;

/// No time in a service's file is longer, so that adding it to the clock cannot overflow: a year.
const LONGEST: u64 = 366 * 24 * 3600;

/// A time: seconds as a number (`5`, `0.5`), or a string with a unit (`"500ms"`, `"2min"`).
pub fn time(value: &Value) -> Result<Duration, String> {
    const EXPECTED: &str = "a time such as 5, 0.5, \"500ms\", \"10s\", \"2min\" or \"1h\"";
    let milliseconds = match value {
        Value::Integer(seconds, _) => u64::try_from(*seconds).ok().and_then(|seconds| seconds.checked_mul(1000)),
        Value::Decimal(text) => thousandths(text),
        Value::Text(text) => with_unit(text),
        _ => None,
    };
    match milliseconds.map(Duration::from_millis) {
        Some(time) if time.as_secs() <= LONGEST => Ok(time),
        _ => Err(value.not(EXPECTED)).map_err(|message| message.replace(", and is a string", "")),
    }
}

/// A time that may be switched off by 0.
pub fn time_or_none(value: &Value) -> Result<Option<Duration>, String> {
    time(value).map(|time| (!time.is_zero()).then_some(time))
}

fn with_unit(text: &str) -> Option<u64> {
    let split = text.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = (text.get(..split)?.trim(), text.get(split..)?);
    let factor = match unit {
        "ms" => return number.parse().ok(),
        "s" | "" => 1,
        "min" => 60,
        "h" => 3600,
        _ => return None,
    };
    thousandths(number)?.checked_mul(factor)
}

/// A number without sign and exponent, times 1000.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return None;
    }
    let part: String = part.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(part.parse().ok()?)
}

/// A size in bytes: a number, or a string with the unit K, M or G.
pub fn size(value: &Value) -> Result<u64, String> {
    const EXPECTED: &str = "a size such as 65536, \"64K\", \"16M\" or \"1G\"";
    let size = match value {
        Value::Integer(bytes, _) => u64::try_from(*bytes).ok(),
        Value::Text(text) => size_of_text(text),
        _ => None,
    };
    size.ok_or_else(|| format!("must be {EXPECTED}"))
}

fn size_of_text(text: &str) -> Option<u64> {
    let factor = match text.chars().last()? {
        'K' => 1 << 10,
        'M' => 1 << 20,
        'G' => 1 << 30,
        _ => 1,
    };
    text.trim_end_matches(['K', 'M', 'G']).parse::<u64>().ok()?.checked_mul(factor)
}

/// The signals that make sense to be sent to a service.
const SIGNALS: &[(&str, Signal)] = &[
    ("TERM", Signal::TERM),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("HUP", Signal::HUP),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("KILL", Signal::KILL),
    ("ABRT", Signal::ABORT),
    ("ALRM", Signal::ALARM),
    ("WINCH", Signal::WINCH),
    ("CONT", Signal::CONT),
    ("PIPE", Signal::PIPE),
    ("URG", Signal::URG),
];

/// A signal by its name, with or without `SIG`.
pub fn signal(value: &Value) -> Result<Signal, String> {
    let text = value.text()?;
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    named(name, SIGNALS, "a signal's name")
}

/// Resource limits by the names of setrlimit(2) in small letters.
const LIMITS: &[(&str, Resource)] = &[
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

/// A resource limit: its name, and a number, `"unlimited"`, or a list of the soft and the hard limit.
pub fn limit(name: &str, value: &Value) -> Result<(Resource, Limit), String> {
    let resource = named(name, LIMITS, "a resource limit")?;
    let limit = match value {
        Value::List(both) => match both.as_slice() {
            [soft, hard] => Limit { current: one_limit(soft)?, maximum: one_limit(hard)? },
            _ => return Err("must have two limits in the list: the soft one and the hard one".into()),
        },
        one => Limit { current: one_limit(one)?, maximum: one_limit(one)? },
    };
    // Nothing is no limit, which is more than each number.
    if limit.current.unwrap_or(u64::MAX) > limit.maximum.unwrap_or(u64::MAX) {
        return Err("has a soft limit above the hard one".into());
    }
    Ok((resource, limit))
}

fn one_limit(value: &Value) -> Result<Option<u64>, String> {
    match value {
        Value::Text(text) if text == "unlimited" => Ok(None),
        other => size(other).map(Some).map_err(|_| "must be a number, a size such as \"64M\", or \"unlimited\"".into()),
    }
}

/// The capabilities in the order of their numbers, linux/capability.h (6.18).
#[rustfmt::skip]
const CAPABILITIES: &[&str] = &[
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
];

/// Capabilities by name, with or without `CAP_`, as bits.
pub fn capabilities(value: &Value) -> Result<u64, String> {
    let mut bits = 0;
    for text in value.texts()? {
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_prefix("cap_").unwrap_or(&lower);
        let Some(number) = CAPABILITIES.iter().position(|known| *known == name) else {
            return Err(unknown(name, CAPABILITIES, "a capability"));
        };
        bits |= 1 << number;
    }
    Ok(bits)
}

/// Permission bits: octal digits as a string, or a number that is written as octal, `0o022`. Somebody who writes `77` means
/// octal digits too, and gets other bits from TOML.
pub fn umask(value: &Value) -> Result<u32, String> {
    let bits = match value {
        Value::Text(text) => u32::from_str_radix(text, 8).ok(),
        Value::Integer(number, base) if *base == 8 || *number == 0 => u32::try_from(*number).ok(),
        Value::Integer(number, 10) if *number > 0 => {
            return Err(format!("must be octal: write \"0{number}\" or 0o{number}"));
        }
        _ => None,
    };
    bits.filter(|bits| *bits <= 0o777).ok_or_else(|| "must be octal, such as \"022\" or 0o022".into())
}

/// The value of a word in a table.
pub fn word<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, String> {
    let text = value.text()?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("must be one of {}, and is '{text}'", words.join(", "))
    })
}

fn named<T: Copy>(name: &str, table: &[(&str, T)], what: &str) -> Result<T, String> {
    let found = table.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    found.ok_or_else(|| unknown(name, &table.iter().map(|(known, _)| *known).collect::<Vec<_>>(), what))
}

fn unknown(name: &str, known: &[&str], what: &str) -> String {
    match nearest(name, known) {
        Some(nearest) => format!("is not {what}: '{name}'; did you mean '{nearest}'?"),
        None => format!("is not {what}: '{name}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn times() {
        let ms = |value: &Value| time(value).map(|time| time.as_millis());
        assert_eq!(ms(&Value::Integer(5, 10)), Ok(5000));
        assert_eq!(ms(&Value::Decimal("0.25".into())), Ok(250));
        assert_eq!(ms(&Value::Decimal("1.23456".into())), Ok(1234));
        for (written, expected) in
            [("500ms", 500), ("10s", 10_000), ("1.5 min", 90_000), ("2h", 7_200_000), ("3", 3000)]
        {
            assert_eq!(ms(&text(written)), Ok(expected), "{written}");
        }
        let wrong = [
            Value::Integer(-1, 10),
            Value::Integer(i64::MAX, 10),
            Value::Decimal("1e3".into()),
            Value::Decimal("inf".into()),
            Value::Decimal("-1.0".into()),
            text("fast"),
            text("5 days"),
            text(""),
            text("ms"),
            text("99999999999999999999s"),
            Value::Boolean(true),
        ];
        for value in wrong {
            assert!(time(&value).is_err(), "{value:?}");
        }
        assert_eq!(time_or_none(&Value::Integer(0, 10)), Ok(None));
    }

    #[test]
    fn sizes() {
        assert_eq!(size(&Value::Integer(100, 10)), Ok(100));
        assert_eq!(size(&text("64K")), Ok(65536));
        assert_eq!(size(&text("2G")), Ok(2 << 30));
        for wrong in ["", "K", "-1", "1T", "99999999999999999999", "17179869184G"] {
            assert!(size(&text(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn signals() {
        assert_eq!(signal(&text("SIGHUP")), Ok(Signal::HUP));
        assert_eq!(signal(&text("QUIT")), Ok(Signal::QUIT));
        assert_eq!(signal(&text("TREM")), Err("is not a signal's name: 'TREM'; did you mean 'TERM'?".into()));
    }

    #[test]
    fn limits() {
        let both = Value::List(vec![Value::Integer(10, 10), text("unlimited")]);
        assert_eq!(limit("nofile", &both), Ok((Resource::Nofile, Limit { current: Some(10), maximum: None })));
        assert_eq!(limit("core", &text("1K")).unwrap().1.current, Some(1024));
        assert!(limit("nofiles", &Value::Integer(1, 10)).unwrap_err().contains("did you mean 'nofile'?"));
        let reversed = Value::List(vec![text("unlimited"), Value::Integer(10, 10)]);
        assert!(limit("nofile", &reversed).is_err());
        assert!(limit("nofile", &Value::List(Vec::new())).is_err());
    }

    #[test]
    fn capabilities_are_bits_of_the_kernels_numbers() {
        let list = |names: &[&str]| Value::List(names.iter().map(|name| text(name)).collect());
        // CAP_NET_BIND_SERVICE is 10, CAP_CHECKPOINT_RESTORE 40.
        assert_eq!(capabilities(&list(&["CAP_NET_BIND_SERVICE", "checkpoint_restore"])), Ok(1 << 10 | 1 << 40));
        assert_eq!(capabilities(&list(&[])), Ok(0));
        assert!(capabilities(&list(&["net_amdin"])).unwrap_err().contains("did you mean 'net_admin'?"));
    }

    #[test]
    fn permission_bits() {
        assert_eq!(umask(&text("027")), Ok(0o27));
        assert_eq!(umask(&Value::Integer(0o22, 8)), Ok(0o22));
        assert_eq!(umask(&Value::Integer(0, 10)), Ok(0));
        assert_eq!(umask(&Value::Integer(77, 10)), Err("must be octal: write \"077\" or 0o77".into()));
        assert!(umask(&Value::Integer(0x3f, 16)).is_err());
        assert!(umask(&text("9")).is_err() && umask(&Value::Integer(0o1000, 8)).is_err());
    }
}
