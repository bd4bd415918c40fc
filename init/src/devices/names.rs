//! The lasting names of a disk: which links below `/dev/disk` point to it. Pure: what is known about the disk comes in, names
//! come out. They are those that people know from udev's 60-persistent-storage.rules, so that an fstab from elsewhere works.

/// What is known about a block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The number of the partition; nothing for a whole disk.
    pub partition: Option<u32>,
    /// Names by what the disk is, without the partition: `virtio-SERIAL`, `wwn-0x5000...`.
    pub ids: Vec<String>,
    /// Names by where it is plugged in, without the partition: `pci-0000:00:04.0`.
    pub paths: Vec<String>,
    /// The file system's UUID.
    pub uuid: Option<String>,
    /// The file system's label.
    pub label: Option<String>,
    /// The partition's UUID.
    pub partition_uuid: Option<String>,
    /// The partition's name.
    pub partition_label: Option<String>,
}

/// The directories that the links are in.
pub const DIRS: &[&str] = &["by-id", "by-label", "by-partlabel", "by-partuuid", "by-path", "by-uuid"];
/// A name is a file name.
const LONGEST: usize = 255;

/// The links, as `by-uuid/...`.
pub fn links(facts: &Facts) -> Vec<String> {
    let suffix = facts.partition.map(|number| format!("-part{number}")).unwrap_or_default();
    let mut links = Vec::new();
    let mut add = |dir: &str, name: &str| {
        if !name.is_empty() && name.len() <= LONGEST && name != "." && name != ".." {
            links.push(format!("{dir}/{name}"));
        }
    };
    facts.ids.iter().for_each(|id| add("by-id", &format!("{}{suffix}", word(id))));
    facts.paths.iter().for_each(|path| add("by-path", &format!("{}{suffix}", word(path))));
    let others = [
        ("by-uuid", &facts.uuid),
        ("by-label", &facts.label),
        ("by-partuuid", &facts.partition_uuid),
        ("by-partlabel", &facts.partition_label),
    ];
    for (dir, name) in others {
        add(dir, &name.as_deref().map(encode).unwrap_or_default());
    }
    links.sort();
    links.dedup();
    links
}

/// Whether a character stands for itself in such a name.
fn is_plain(char: char) -> bool {
    char.is_ascii_alphanumeric() || "#+-.:=@_".contains(char) || !char.is_ascii() && !char.is_control()
}

/// A label as a file name: what could not be in one is written as `\x20`, so that nothing is lost.
pub fn encode(label: &str) -> String {
    let mut text = String::new();
    for char in label.chars() {
        match is_plain(char) {
            true => text.push(char),
            false => char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| text += &format!("\\x{byte:02x}")),
        }
    }
    text
}

/// What a maker wrote as a part of a name: blanks around it go, blanks within become one `_`, and so does each other odd
/// character.
pub fn word(text: &str) -> String {
    let words: Vec<&str> = text.split([' ', '\t', '\n', '\0']).filter(|word| !word.is_empty()).collect();
    words.join("_").chars().map(|char| if is_plain(char) { char } else { '_' }).collect()
}

/// Attributes in sysfs: a file's text without its line end, and a directory's names.
pub trait Sysfs {
    /// The text of the file at `path`, which begins below /sys.
    fn text(&self, path: &str) -> Option<String>;
    /// The bytes of the file at `path`.
    fn bytes(&self, path: &str) -> Option<Vec<u8>>;
    /// The names in the directory `path`.
    fn list(&self, path: &str) -> Vec<String>;
}

/// The names of a disk by what it is. `path` is its directory below /sys, `devices/pci0000:00/.../block/vda`.
pub fn ids(path: &str, sysfs: &dyn Sysfs) -> Vec<String> {
    let (_, disk) = path.rsplit_once('/').unwrap_or(("", path));
    let text = |name: &str| sysfs.text(&format!("{path}/{name}")).filter(|text| !text.trim().is_empty());
    let mut ids = Vec::new();
    if disk.starts_with("vd") {
        ids.extend(text("serial").map(|serial| format!("virtio-{serial}")));
    } else if disk.starts_with("nvme") {
        if let (Some(model), Some(serial)) = (text("device/model"), text("device/serial")) {
            let name = format!("nvme-{}_{}", word(&model), word(&serial));
            ids.extend(text("nsid").map(|nsid| format!("{name}_{nsid}")));
            ids.push(name);
        }
        ids.extend(text("wwid").map(|wwid| format!("nvme-{wwid}")));
    } else if disk.starts_with("mmcblk") {
        if let (Some(name), Some(serial)) = (text("device/name"), text("device/serial")) {
            ids.push(format!("mmc-{}_{}", word(&name), word(&serial)));
        }
    } else if disk.starts_with("dm-") {
        ids.extend(text("dm/name").map(|name| format!("dm-name-{name}")));
        ids.extend(text("dm/uuid").map(|uuid| format!("dm-uuid-{uuid}")));
    } else if let (Some(vendor), Some(model)) = (text("device/vendor"), text("device/model")) {
        ids = scsi_ids(path, &vendor, &model, sysfs);
    }
    ids
}

/// The names of a disk that speaks SCSI, which ATA and USB disks do in Linux.
fn scsi_ids(path: &str, vendor: &str, model: &str, sysfs: &dyn Sysfs) -> Vec<String> {
    if let Some(usb) = parents(path).find(|parent| sysfs.text(&format!("{parent}/idVendor")).is_some()) {
        let serial = sysfs.text(&format!("{usb}/serial")).map(|serial| format!("_{}", word(&serial)));
        // HOST:CHANNEL:TARGET:LUN: several card readers in one device differ in the last.
        let address = path.split('/').find_map(scsi_address);
        let place = address.map(|[_, _, target, lun]| format!("-{target}:{lun}")).unwrap_or_default();
        return vec![format!("usb-{}_{}{}{place}", word(vendor), word(model), serial.unwrap_or_default())];
    }
    let page = sysfs.bytes(&format!("{path}/device/vpd_pg83")).unwrap_or_default();
    let mut ids = Vec::new();
    for designator in designators(&page) {
        match designator {
            // The page's T10 name of an ATA disk is made by the kernel of vendor, model and serial number.
            Designator::Text(1, name) if vendor.trim() == "ATA" => {
                let name = name.strip_prefix("ATA").unwrap_or(name);
                ids.push(format!("ata-{}", word(name)));
            }
            Designator::Text(0, _) if vendor.trim() == "ATA" => {}
            Designator::Text(0, name) => ids.push(format!("scsi-0{}_{}_{}", word(vendor), word(model), word(name))),
            Designator::Text(kind, name) => ids.push(format!("scsi-{kind}{}", word(name))),
            Designator::Number(kind, number) => {
                ids.push(format!("wwn-0x{number}"));
                if vendor.trim() != "ATA" {
                    ids.push(format!("scsi-{kind}{number}"));
                }
            }
        }
    }
    ids
}

/// A name of a disk in its page 0x83, with its type.
enum Designator<'a> {
    Text(u8, &'a str),
    Number(u8, String),
}

/// The names in the "device identification" page (SCSI Primary Commands, section 7.8.6): a header of 4 bytes, then each
/// with code set, association and type, a reserved byte and a length.
fn designators(page: &[u8]) -> Vec<Designator<'_>> {
    let mut found = Vec::new();
    let mut rest = page.get(4..).unwrap_or_default();
    while let [code, kind, _, length, behind @ ..] = rest {
        let Some((name, next)) = behind.split_at_checked((*length).into()) else {
            break;
        };
        rest = next;
        // Association 0 is the disk; others are its ports and its target.
        if kind & 0x30 != 0 {
            continue;
        }
        match (code & 0xf, kind & 0xf) {
            (2 | 3, kind @ (0 | 1)) => {
                found.extend(core::str::from_utf8(name).ok().map(|text| Designator::Text(kind, text)))
            }
            // EUI-64 and NAA.
            (1, kind @ (2 | 3)) => {
                let number = name.iter().map(|byte| format!("{byte:02x}")).collect();
                found.push(Designator::Number(kind, number));
            }
            _ => {}
        }
    }
    found
}

/// The directories above `path`, the nearest first.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    core::iter::successors(path.rsplit_once('/'), |(parent, _)| parent.rsplit_once('/')).map(|(parent, _)| parent)
}

/// `2:0:1:0`: host, channel, target and logical unit.
fn scsi_address(name: &str) -> Option<[u32; 4]> {
    let mut numbers = name.split(':').map(str::parse);
    let address = [numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?];
    numbers.next().is_none().then_some(address)
}

/// The names of a disk by where it is plugged in: the way from the bus to it, as udev's `path_id` has it.
pub fn paths(path: &str, sysfs: &dyn Sysfs) -> Vec<String> {
    let mut place = String::new();
    let mut older = None;
    let mut ata = None;
    let mut dir = String::new();
    let mut above = "";
    for name in path.split('/') {
        let parent = dir.clone();
        if !dir.is_empty() {
            dir.push('/');
        }
        dir += name;
        if is_pci(name) {
            // The last one is the card; those before are the bridges to it.
            place = format!("pci-{name}");
        } else if above == "platform" {
            place = format!("platform-{name}");
        } else if let Some(port) = usb_port(name) {
            place = format!("{}-usb-0:{port}", before_usb(&place));
        } else if name.starts_with("ata") && name.len() > 3 && name.bytes().skip(3).all(|byte| byte.is_ascii_digit()) {
            ata = sysfs.text(&format!("{dir}/ata_port/{name}/port_no"));
        } else if let Some([host, channel, target, lun]) = scsi_address(name) {
            match &ata {
                Some(port) => {
                    older = Some(format!("{place}-ata-{port}"));
                    // Behind a port multiplier the channel is the disk; on an old controller the target is.
                    let last = if channel == 0 { format!("{target}") } else { format!("{channel}.0") };
                    place = format!("{place}-ata-{port}.{last}");
                }
                None => {
                    let host = host.checked_sub(first_host(path, sysfs)).unwrap_or(host);
                    place = format!("{place}-scsi-{host}:{channel}:{target}:{lun}");
                }
            }
        }
        above = if parent == "devices" { name } else { "" };
    }
    if let (Some(namespace), false) = (sysfs.text(&format!("{path}/nsid")), place.is_empty()) {
        place = format!("{place}-nvme-{namespace}");
    }
    if place.is_empty() { Vec::new() } else { [place].into_iter().chain(older).collect() }
}

/// `0000:00:04.0`.
fn is_pci(name: &str) -> bool {
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some((slot, function)) = name.split_once('.') else {
        return false;
    };
    let mut parts = slot.split(':');
    let (domain, bus, device) = (parts.next(), parts.next(), parts.next());
    let domain_is = domain.is_some_and(|text| text.len() >= 4 && digits(text, text.len()));
    domain_is
        && bus.is_some_and(|text| digits(text, 2))
        && device.is_some_and(|text| digits(text, 2))
        && parts.next().is_none()
        && digits(function, 1)
}

/// `1-2.3:1.0`: bus, ports, configuration and interface; all but the bus counts.
fn usb_port(name: &str) -> Option<&str> {
    let (bus, port) = name.split_once('-')?;
    let (ports, interface) = port.split_once(':')?;
    let numbers =
        |text: &str| text.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    (numbers(bus) && numbers(ports) && numbers(interface)).then_some(port)
}

fn before_usb(place: &str) -> &str {
    place.split_once("-usb-").map_or(place, |(before, _)| before)
}

/// The lowest number among the SCSI hosts of the card: hosts are counted over all cards, so the number alone lasts no boot.
fn first_host(path: &str, sysfs: &dyn Sysfs) -> u32 {
    let number = |name: &str| name.strip_prefix("host")?.parse::<u32>().ok();
    let Some(card) = parents(path).find_map(|dir| {
        let (card, name) = dir.rsplit_once('/')?;
        number(name).map(|_| card)
    }) else {
        return 0;
    };
    sysfs.list(card).iter().filter_map(|name| number(name)).min().unwrap_or(0)
}

#[cfg(test)]
mod tests;
