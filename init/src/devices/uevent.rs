//! The kernel's words about a device that comes, changes or goes (`kobject_uevent_env` of its lib/kobject_uevent.c): the
//! text `ACTION@PATH`, then `NAME=value`s, each with a terminating zero.

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A device is new.
    Add,
    /// Something about it changed, for example its medium.
    Change,
    /// It is gone.
    Remove,
}

/// A device's event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uevent<'a> {
    /// What happened.
    pub happened: Happened,
    /// The kind of device: `block`, `input`, `net`, ...
    pub subsystem: &'a str,
    /// Its node below /dev, if it has one: `vda1`, `input/event3`. Without `..`, and no absolute path.
    pub node: Option<&'a str>,
    /// What a driver for it says it is for.
    pub alias: Option<&'a str>,
}

/// The event in a datagram; nothing when it is none, or one that nothing has to be done for.
pub fn parse(datagram: &[u8]) -> Option<Uevent<'_>> {
    let text = core::str::from_utf8(datagram).ok()?;
    let mut parts = text.split('\0');
    // Device managers send events of their own, which begin with another word.
    let (action, path) = parts.next()?.split_once('@')?;
    if !path.starts_with('/') {
        return None;
    }
    let happened = match action {
        "add" => Happened::Add,
        "change" => Happened::Change,
        "remove" => Happened::Remove,
        _ => return None,
    };
    let mut event = Uevent { happened, subsystem: "", node: None, alias: None };
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name {
            "SUBSYSTEM" => event.subsystem = value,
            "DEVNAME" => event.node = Some(value).filter(|name| is_node_name(name)),
            "MODALIAS" => event.alias = Some(value).filter(|alias| is_alias(alias)),
            _ => {}
        }
    }
    Some(event)
}

/// Whether `name` stays below /dev.
pub fn is_node_name(name: &str) -> bool {
    name.len() < 256 && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

/// Whether this can be an argument of modprobe.
pub fn is_alias(alias: &str) -> bool {
    (1..1024).contains(&alias.len()) && !alias.starts_with('-') && alias.chars().all(|char| char.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_and_a_card() {
        let text = b"add@/devices/pci0000:00/0000:00:04.0/virtio1/block/vda/vda1\0ACTION=add\0DEVPATH=/devices/x\0\
                     SUBSYSTEM=block\0MAJOR=254\0MINOR=1\0DEVNAME=vda1\0DEVTYPE=partition\0SEQNUM=1234\0";
        let expected = Uevent { happened: Happened::Add, subsystem: "block", node: Some("vda1"), alias: None };
        assert_eq!(parse(text), Some(expected));
        let text = b"add@/devices/x\0SUBSYSTEM=pci\0MODALIAS=pci:v00001AF4d00001000sv\0";
        assert_eq!(parse(text).unwrap().alias, Some("pci:v00001AF4d00001000sv"));
        let text = b"remove@/devices/x\0SUBSYSTEM=input\0DEVNAME=input/event3\0";
        let expected =
            Uevent { happened: Happened::Remove, subsystem: "input", node: Some("input/event3"), alias: None };
        assert_eq!(parse(text), Some(expected));
    }

    #[test]
    fn other_words_are_no_events() {
        for text in [
            &b"libudev\0\xfe\xed\xca\xfe"[..],
            b"",
            b"\0",
            b"add@",
            b"add@x\0",
            b"bind@/devices/x\0SUBSYSTEM=pci\0",
            b"add",
            b"\xff\xff@/",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn names_that_leave_their_place_are_refused() {
        for name in ["../etc/passwd", "/etc/passwd", "a/../b", "", "a//b", "."] {
            let text = format!("add@/x\0SUBSYSTEM=block\0DEVNAME={name}\0MODALIAS=-r x\0");
            let event = parse(text.as_bytes()).unwrap();
            assert_eq!((event.node, event.alias), (None, None), "{name}");
        }
    }
}
