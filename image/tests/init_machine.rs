//! PID 1 and the machine: devices that come and go while it runs, and a watchdog that resets a machine whose PID 1 no
//! longer runs.

mod common;

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use build_support::{Arch, fs};
use common::guest::{Guest, Start, extra};
use common::outputs::{Outputs, check_with};
use common::{limit, report, slots};
use serde_json::json;
use system::machine::{Accelerator, Options};

/// The time-out that the watchdog is asked for, in seconds.
const WATCHDOG: u64 = 4;
/// Seconds between a card's carrier, which is at once with virtio and takes e1000e two seconds, and its address.
const CONFIGURED: f64 = 1.0;
for_each_arch! {
    a_stopped_init_resets_the_machine, a_network_card_comes_and_goes, disks_have_their_names, a_disk_comes_and_goes,
    a_fork_bomb_stays_in_its_limit, a_control_group_is_as_its_file_says, a_service_is_its_user,
    a_disk_that_does_not_answer_stops_only_its_logs,
    what_is_kept_from_one_boot_to_the_next, a_shell_and_little_else,
}

/// Room for devices on PCI Express, whose root has no place for what comes later.
const PORTS: &[&str] =
    &["-device", "pcie-root-port,id=port1,chassis=1", "-device", "pcie-root-port,id=port2,chassis=2"];

/// By emulation, with words for the kernel and more devices, and with the disk as it is.
fn machine(append: &str, qemu: &[&str]) -> Options {
    let extra = extra(&[&["-no-reboot"], qemu].concat());
    Options { accelerator: Accelerator::Tcg, append: append.into(), snapshot: true, extra, ..Options::default() }
}

fn boot(outputs: &Outputs, name: &str, append: &str, qemu: &[&str]) -> Result<Guest> {
    Guest::boot(outputs, &Start { options: machine(append, qemu), ..Start::new(name, "base") })
}

/// A PID 1 that the kernel does not let run is the end of the machine, and soon. SIGSTOP does not stop PID 1, so the
/// freezer of its control group does (cgroup-v2.rst, `cgroup.freeze`).
fn a_stopped_init_resets_the_machine(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    // The kernel's own timer could reset the machine too.
    let append = format!("init.watchdog={WATCHDOG} softdog.soft_noboot=1");
    let device = ["-device", "i6300esb", "-action", "watchdog=reset"];
    let mut guest = boot(&outputs, "init-watchdog", &append, &device)?;
    guest.run("dmesg | grep -q 'i6300ESB.*initialized'")?;
    control(&mut guest)?;
    keeps_its_children(&mut guest)?;
    // As long as init runs nothing happens, SIGSTOP or not.
    guest.run("kill -STOP 1 && kill -SEGV 1 && kill -KILL 1")?;
    // The time is for what must not happen.
    guest.run(&format!("sleep {}", 3 * WATCHDOG))?;
    guest.run("grep -q '^State:.S' /proc/1/status")?;
    guest.run("mkdir /sys/fs/cgroup/ice && echo 1 >/sys/fs/cgroup/ice/cgroup.procs")?;
    let began = Instant::now();
    guest.type_keys("echo 1 >/sys/fs/cgroup/ice/cgroup.freeze\n")?;
    // The device counts its time twice (i6300ESB's two stages).
    guest.ended(4.0 * WATCHDOG as f64)?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(!guest.console.shows("reboot: "), guest.failure("the machine was rebooted or powered off, and not reset"));
    ensure!(seconds > WATCHDOG as f64 / 4.0, guest.failure(&format!("the machine ended after {seconds:.1} s")));
    report(&format!("a watchdog of {WATCHDOG} s reset a machine with a frozen init after {seconds:.1} s"));
    Ok(())
}

/// A service that says something when it starts, and something else when it is asked.
const TOLD: &str = "command = ['/bin/sh', '-c', 'echo it runs; trap \"echo it goes on\" USR1; while :; do sleep 1234 & wait $!; done']";

/// The tool on a real system.
fn control(guest: &mut Guest) -> Result<()> {
    guest.run("mkdir -p /etc/services.d")?;
    guest.write("/etc/services.d/told.toml", TOLD)?;
    guest.run("initctl reload && initctl start told")?;
    guest.run("initctl list | grep -q '^told .*running' && initctl status told | grep -q running")?;
    guest.run("initctl log told | grep -q 'it runs'")?;
    // The file has what came within 50 ms after its last line a moment later.
    guest.run("until grep -q 'it runs' /run/log/told.log; do sleep 0.01; done")?;
    guest.run("initctl stop told && ! pgrep -f 'sleep 1234' && initctl status told | grep -q stopped")?;
    // A simple service is started when it has a process, which takes a moment to run its program.
    guest
        .run("initctl start told && i=0; until pgrep -f 'sleep 1234' || [ $i = 50 ]; do i=$((i+1)); sleep 0.1; done")?;
    guest.run("pgrep -f 'sleep 1234'")?;
    guest.run("initctl analyze | grep -q ' devices$' && initctl analyze --svg | grep -q '</svg>'")?;
    guest.run("! initctl stop nobody 2>/dev/null").map(drop)
}

/// A new program in the place of init knows what runs, and starts nothing twice.
fn keeps_its_children(guest: &mut Guest) -> Result<()> {
    let children =
        "for s in /proc/[0-9]*/stat; do sed 's/.*) . //' $s 2>/dev/null | grep -q '^1 ' && echo $s; done; true";
    let before = guest.run(children)?;
    ensure!(before.lines().count() >= 3, guest.failure(&format!("init has the children {before}")));
    guest.run("cp /proc/1/exe /sbin/init.new && mv /sbin/init.new /usr/bin/init && init u")?;
    guest.run("while readlink /proc/1/exe | grep -q deleted; do sleep 0.1; done")?;
    guest.run("until initctl list 2>/dev/null | grep '^told .*running'; do sleep 0.1; done")?;
    let after = guest.run(children)?;
    ensure!(before == after, guest.failure(&format!("the children of init were\n{before}\nand are\n{after}")));
    // What it wrote before is in the file; what it writes now comes through the same pipe.
    guest.run("grep 'it runs' /run/log/told.log && kill -USR1 $(pgrep -f 'echo it runs')")?;
    guest.run("until initctl log told | grep 'it goes on'; do sleep 0.1; done").map(drop)
}

/// A network card that comes gets its address within a second, and leaves nothing behind when it goes.
fn a_network_card_comes_and_goes(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::all();
    let mut guest = boot(&outputs, "init-network-card", "", PORTS)?;
    for (model, port) in [("virtio-net-pci", "port1"), ("e1000e", "port2")] {
        // Shell arithmetic in hundredths of a second, as /proc/uptime has them.
        guest.run("now() { IFS='. ' read -r s h x </proc/uptime; h=1$h; echo $((s * 100 + h - 100)); }")?;
        guest.run(
            "watch() { until grep -q 1 /sys/class/net/eth1/carrier; do sleep 0.01; done; a=$(now); \
             until ip -4 addr show eth1 | grep -q inet; do sleep 0.01; done; echo $(($(now) - a)) >/run/took; }",
        )?;
        guest.run("rm -f /run/took; { watch 2>/dev/null & }")?;
        let (net, card) = (format!("net-{port}"), format!("card-{port}"));
        guest.qmp("netdev_add", json!({ "type": "user", "id": net, "net": "10.0.7.0/24" }))?;
        guest.qmp("device_add", json!({ "driver": model, "id": card, "netdev": net, "bus": port, "romfile": "" }))?;
        guest.run_slow(
            "i=0; until [ -s /run/took ] || [ $i = 300 ]; do i=$((i+1)); sleep 0.1; done; [ -s /run/took ]",
            60.0,
        )?;
        let took = guest.run("cat /run/took")?.parse::<f64>()? / 100.0;
        report(&format!("{model}: an address {took:.2} s after its carrier"));
        let within = took <= limit(CONFIGURED).as_secs_f64();
        ensure!(within, guest.failure(&format!("{model} had its address after {took:.2} s")));
        guest.run(
            "ip -4 addr show eth1 | grep -q 'inet 10.0.7.' && ip route | grep -q 'default via 10.0.7.2 dev eth1'",
        )?;
        guest.run("grep -q '^nameserver 10.0.7.3' /etc/resolv.conf && initctl list | grep -q dhcp@eth1")?;
        // The first card leads: its way is the shorter one.
        guest.run("ip route get 192.0.2.1 | grep -q 'dev eth0'")?;
        guest.unplug(&card)?;
        let gone = "[ ! -e /sys/class/net/eth1 ] && ! pgrep -f 'udhcpc.*eth1' && ! grep -q '10.0.7.' /etc/resolv.conf";
        guest.run_slow(
            &format!("i=0; until {{ {gone}; }} || [ $i = 300 ]; do i=$((i+1)); sleep 0.1; done; {gone}"),
            60.0,
        )?;
        guest.run("ip route | grep -q 'default via 10.0.2.2 dev eth0' && ! ip route | grep eth1")?;
    }
    guest.power_off().map(drop)
}

/// Disks of each kind that are there at the start: nodes of partitions, their modes, and their lasting names.
fn disks_have_their_names(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let dir = tempfile::tempdir()?;
    // The device, the node of its partition, and what the disk is called by-id; QEMU gives the vendors and models.
    let kinds = [
        ("nvme,serial=no-1", "nvme[0-9]n1p1", "nvme-QEMU_NVMe_Ctrl_no-1"),
        ("scsi-hd,bus=scsi.0,serial=no-2", "sd[a-z]1", "scsi-0QEMU_QEMU_HARDDISK_no-2"),
        ("usb-storage,bus=usb.0,serial=no-3", "sd[a-z]1", "usb-QEMU_QEMU_HARDDISK_no-3-0:0"),
        ("ide-hd,bus=ahci.0,serial=no-4", "sd[a-z]1", "ata-QEMU_HARDDISK_no-4"),
        ("virtio-blk-pci,serial=no-5", "vd[a-z]1", "virtio-no-5"),
    ];
    let mut qemu: Vec<String> = ["virtio-scsi-pci,id=scsi", "qemu-xhci,id=usb", "ich9-ahci,id=ahci"]
        .iter()
        .flat_map(|bus| ["-device".to_string(), bus.to_string()])
        .collect();
    for (n, (device, ..)) in kinds.iter().enumerate() {
        let image = dir.path().join(format!("{n}.img"));
        fs::File::create(&image)?.set_len(16 << 20)?;
        let path = image.to_string_lossy().into_owned();
        check_with("sgdisk", &["-n", "1:2048:0", "-c", &format!("1:part{n}"), "-u", &format!("1:{}", uuid(n)), &path])?;
        check_with("mke2fs", &["-q", "-t", "ext4", "-L", &format!("disk{n}"), "-E", "offset=1048576", &path, "8M"])?;
        qemu.extend(["-drive".into(), format!("if=none,id=drive{n},format=raw,file={path}")]);
        qemu.extend(["-device".into(), format!("{device},drive=drive{n}")]);
    }
    let qemu: Vec<&str> = qemu.iter().map(String::as_str).collect();
    let mut guest = boot(&outputs, "init-disks", "", &qemu)?;
    for (n, (device, node, id)) in kinds.iter().enumerate() {
        let link = format!("/dev/disk/by-label/disk{n}");
        guest.run_slow(
            &format!("i=0; until [ -b {link} ] || [ $i = 100 ]; do i=$((i+1)); sleep 0.1; done; [ -b {link} ]"),
            30.0,
        )?;
        let found = guest.run(&format!("readlink -f {link}"))?;
        guest.run(&format!("case {found} in /dev/{node}) ;; *) false ;; esac"))?;
        guest.run(&format!("[ \"$(stat -c '%a %G' {found})\" = '660 disk' ]"))?;
        for name in [format!("by-partlabel/part{n}"), format!("by-partuuid/{}", uuid(n)), format!("by-id/{id}-part1")] {
            let there = guest.ask(&format!("[ \"$(readlink -f /dev/disk/{name})\" = {found} ]"))?;
            let all = guest.run("ls -l /dev/disk/by-id")?;
            ensure!(there.status == 0, guest.failure(&format!("{device}: {name} is not {found}:\n{all}")));
        }
        guest.run(&format!(
            "ls -l /dev/disk/by-path | grep -q -- '-part1 -> ../../{}$'",
            found.trim_start_matches("/dev/")
        ))?;
    }
    let seconds = guest.press_power_button()?;
    report(&format!("{arch}: {} kinds of disks; the power button ended it in {seconds:.1} s", kinds.len()));
    Ok(())
}

fn uuid(n: usize) -> String {
    format!("0f2b3b5e-91d4-4c57-8e57-6a2d3c1f9b{n:02x}")
}

/// What shutdown leaves for the next boot: the RTC's time and a seed of random numbers, which is used once. The reboot is that
/// of Ctrl, Alt and Del.
fn what_is_kept_from_one_boot_to_the_next(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let copy = tempfile::tempdir()?;
    outputs.copy_profile("base", copy.path())?;
    let keyboard = extra(&["-device", "virtio-keyboard-pci"]);
    let options = Options { accelerator: Accelerator::Tcg, extra: keyboard, ..Options::default() };
    let start = Start { options, target: Some(copy.path()), ..Start::new("init-kept", "base") };
    let mut guest = Guest::boot(&outputs, &start)?;
    guest.run("[ ! -e /var/lib/random-seed ] && date -s '2031-05-06 07:08:09'")?;
    let seed = "stat -c '%a %s' /var/lib/random-seed && md5sum </var/lib/random-seed";
    let mut seeds = Vec::new();
    for _ in 0..2 {
        guest.press_ctrl_alt_del()?;
        guest.line("reboot: Restarting system")?;
        guest.prompt()?;
        guest.settle()?;
        let now = guest.run("date +%Y-%m-%d.%H")?;
        ensure!(now == "2031-05-06.07", guest.failure(&format!("the time after the reboot is {now}")));
        let rtc = guest.run("hwclock -u -r")?;
        ensure!(rtc.contains("2031"), guest.failure(&format!("the RTC says {rtc}")));
        let state = guest.run(seed)?;
        ensure!(state.starts_with("600 32\n"), guest.failure(&format!("the seed is {state}")));
        seeds.push(state);
    }
    ensure!(seeds[0] != seeds[1], guest.failure("a seed was used twice"));
    guest.power_off().map(drop)
}

/// `single` and `emergency` on the kernel command line.
fn a_shell_and_little_else(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    for (word, root) in [("single", "rw"), ("emergency", "ro")] {
        let name = format!("init-{word}");
        let start = Start { options: machine(word, &[]), ..Start::new(&name, "base") };
        let mut guest = Guest::start(&outputs, &start)?;
        guest.prompt()?;
        guest.run(&format!("grep -q '^[^ ]* / ext4 {root},' /proc/mounts && hostname | grep -q bloomery"))?;
        guest.run("[ $(pgrep -P 1 | wc -l) = 1 ]")?;
        let shells = guest.run("pgrep -P 1")?;
        guest.type_keys("exit\n")?;
        // The line with `exit` has a prompt too, so the words before the new one are looked for.
        guest.until("another shell", 40.0, |console| {
            let welcomes = console.lines.iter().filter(|(_, line)| line.contains("`poweroff` ends it")).count();
            welcomes == 2 && console.unfinished().ends_with("# ")
        })?;
        let again = guest.run("pgrep -P 1")?;
        ensure!(shells != again, guest.failure("the shell did not end"));
        let seconds = guest.power_off()?;
        report(&format!("{arch}: `{word}` gives a shell; it powered off in {seconds:.1} s"));
    }
    Ok(())
}

/// A disk with a file system and no partitions; the path of its image.
fn ext4_disk(dir: &Path, options: &[&str]) -> Result<String> {
    let disk = dir.join("disk.img");
    fs::File::create(&disk)?.set_len(16 << 20)?;
    let path = disk.to_string_lossy().into_owned();
    check_with("mke2fs", &[&["-q", "-t", "ext4"], options, &[path.as_str()]].concat())?;
    Ok(path)
}

/// A disk that comes has its names in /dev/disk, and they go with it.
fn a_disk_comes_and_goes(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let dir = tempfile::tempdir()?;
    let uuid = "0f2b3b5e-91d4-4c57-8e57-6a2d3c1f9a70";
    let path = ext4_disk(dir.path(), &["-L", "travelling", "-U", uuid])?;
    let usb = ["-device", "qemu-xhci,id=usb"];
    let mut guest = boot(&outputs, "init-disk", "", &[PORTS, &usb].concat())?;
    for (n, (device, bus)) in [("virtio-blk-pci", "port1"), ("usb-storage", "usb.0")].into_iter().enumerate() {
        let links = format!("/dev/disk/by-label/travelling /dev/disk/by-uuid/{uuid}");
        let (drive, stick) = (format!("more{n}"), format!("stick{n}"));
        let file = json!({ "driver": "file", "filename": path, "locking": "off" });
        guest.qmp("blockdev-add", json!({ "driver": "raw", "node-name": drive, "file": file }))?;
        guest.qmp("device_add", json!({ "driver": device, "id": stick, "drive": drive, "bus": bus }))?;
        let there = format!("(for l in {links}; do [ -b $l ] || exit 1; done)");
        guest
            .run_slow(&format!("i=0; until {there} || [ $i = 300 ]; do i=$((i+1)); sleep 0.1; done; {there}"), 60.0)?;
        let node = guest.run("readlink -f /dev/disk/by-label/travelling")?;
        guest.run(&format!("[ \"$(stat -c '%a %G' {node})\" = '660 disk' ]"))?;
        guest.run("mount -o ro /dev/disk/by-label/travelling /mnt && umount /mnt")?;
        guest.unplug(&stick)?;
        let gone = format!("(for l in {links}; do [ ! -L $l ] || exit 1; done)");
        guest.run_slow(&format!("i=0; until {gone} || [ $i = 300 ]; do i=$((i+1)); sleep 0.1; done; {gone}"), 60.0)?;
        report(&format!("{device}: {node} by its label, and gone"));
    }
    guest.power_off().map(drop)
}

/// A log on a disk that takes no writes: PID 1 answers, other logs go on, and after it the log is complete.
fn a_disk_that_does_not_answer_stops_only_its_logs(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let dir = tempfile::tempdir()?;
    let path = ext4_disk(dir.path(), &["-L", "slow"])?;
    let drive = format!("if=none,id=slow,format=raw,file={path}");
    let mut guest = boot(&outputs, "init-frozen", "", &["-drive", &drive, "-device", "virtio-blk-pci,drive=slow"])?;
    guest.run("mkdir -p /etc/services.d && mount /dev/disk/by-label/slow /mnt")?;
    let count = "command = ['/bin/sh', '-c', 'i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.2; done']";
    guest.write("/etc/services.d/slow.toml", &format!("{count}\n[log]\nfile = '/mnt/slow.log'\n"))?;
    guest.write("/etc/services.d/fast.toml", count)?;
    guest.run("ticks() { grep -c tick $1; }; more() { m=$(($(ticks $1) + $2)); until [ $(ticks $1) -ge $m ]; do sleep 0.1; done; }")?;
    guest.run("initctl reload && until [ -s /mnt/slow.log ]; do sleep 0.1; done && sync && fsfreeze --freeze /mnt")?;
    // Longer than PID 1 waits before it says that the disk does not answer.
    guest.run_slow("n=$(ticks /mnt/slow.log); more /run/log/fast.log 20", 60.0)?;
    guest.run("[ $(ticks /mnt/slow.log) = $n ] && initctl list | grep -q '^slow .*running'")?;
    guest.run("initctl log -n 1 slow | grep -q tick && ! grep '^State:.D' /proc/1/status")?;
    guest.run("fsfreeze --unfreeze /mnt && more /mnt/slow.log 25")?;
    let lines = guest.run("sed -n 's/.* tick //p' /mnt/slow.log")?;
    let whole = lines.lines().zip(1..).all(|(line, number)| line.parse() == Ok(number));
    ensure!(whole, guest.failure(&format!("lines are missing:\n{lines}")));
    guest.power_off().map(drop)
}

/// Processes that the service of the fork bomb may have.
const PIDS: u32 = 64;

/// A service that starts processes for as long as it can is held by its limit, and all of them end with it.
fn a_fork_bomb_stays_in_its_limit(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let mut guest = boot(&outputs, "init-bomb", "", &[])?;
    // A shell ends when it cannot fork; the first one goes on because it has just lost one that did.
    let bomb = "while :; do (while :; do sleep 4321 & done) 2>/dev/null; done";
    let service = format!("command = ['/bin/sh', '-c', '{bomb}']\n[cgroup]\npids-max = {PIDS}\n");
    guest.run("mkdir -p /etc/services.d")?;
    guest.write("/etc/services.d/bomb.toml", &service)?;
    guest.run("initctl reload")?;
    let group = "/sys/fs/cgroup/services/bomb";
    let until = |what: &str| format!("i=0; until {what} || [ $i = 600 ]; do i=$((i+1)); sleep 0.1; done; {what}");
    guest.run_slow(&until(&format!("[ $(sed 's/max //' {group}/pids.events) -ge 100 ]")), 90.0)?;
    let processes = guest.run(&format!("cat {group}/pids.current"))?.parse::<u32>()?;
    ensure!(processes <= PIDS, guest.failure(&format!("the bomb has {processes} processes")));
    let began = Instant::now();
    guest.run("initctl status bomb | grep -q running")?;
    let answer = began.elapsed();
    ensure!(answer <= limit(5.0), guest.failure(&format!("an answer after {answer:?}")));
    guest.run("initctl stop bomb")?;
    guest.run_slow(&until(&format!("grep -q 'populated 0' {group}/cgroup.events")), 90.0)?;
    guest.run("! pgrep -f 'sleep 4321'")?;
    report(&format!(
        "a fork bomb: {processes} processes, and an answer of initctl after {:.2} s",
        answer.as_secs_f64()
    ));
    guest.power_off().map(drop)
}

/// A service that has moved into a group below its own, which has controllers, starts again, and limits that its file no
/// longer has are taken out.
fn a_control_group_is_as_its_file_says(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let mut guest = boot(&outputs, "init-cgroup", "", &[])?;
    let group = "/sys/fs/cgroup/services/divided";
    let divide = "cd /sys/fs/cgroup/services/divided && mkdir below && echo 0 >below/cgroup.procs && \
                  echo +pids >cgroup.subtree_control && echo divided && exec sleep 4567";
    let command = format!("command = ['/bin/sh', '-c', '{divide}']\n");
    guest.run("mkdir -p /etc/services.d")?;
    let file = "/etc/services.d/divided.toml";
    guest.write(file, &format!("{command}[cgroup]\nmemory-max = '64M'\npids-max = 50\ncpu-percent = 50\n"))?;
    guest.run("initctl reload")?;
    let until = |what: &str| format!("i=0; until {what} || [ $i = 300 ]; do i=$((i+1)); sleep 0.1; done; {what}");
    let lives = |n: u32| until(&format!("[ $(grep -c 'divided$' /run/log/divided.log) = {n} ]"));
    let limits = format!("(cd {group} && cat memory.max pids.max cpu.max)");
    guest.run_slow(&lives(1), 60.0)?;
    let limited = guest.run(&limits)?;
    ensure!(limited == "67108864\n50\n50000 100000", guest.failure(&format!("the limits are {limited}")));
    guest.run("initctl restart divided")?;
    guest.run_slow(&lives(2), 60.0)?;
    guest.run("pkill -f 'sleep 4567'")?;
    guest.run_slow(&lives(3), 60.0)?;
    guest.write(file, &command)?;
    guest.run("initctl reload")?;
    guest.run_slow(&lives(4), 60.0)?;
    let limits = guest.run(&limits)?;
    ensure!(limits == "max\nmax\nmax 100000", guest.failure(&format!("without limits there are {limits}")));
    guest.run(&format!("rm {file} && initctl reload"))?;
    guest.run_slow(&until(&format!("[ ! -e {group} ]")), 60.0)?;
    guest.power_off().map(drop)
}

/// A service with a user of its own has that user's rights and no others.
fn a_service_is_its_user(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let mut guest = boot(&outputs, "init-user", "", &[])?;
    guest.run("echo 'www:x:33:34:Web:/srv:/bin/false' >>/etc/passwd")?;
    guest.run("echo 'web:x:34:' >>/etc/group && echo 'video:x:44:www' >>/etc/group")?;
    let show = "command = ['/bin/cat', '/proc/self/status']\ntype = 'oneshot'\nuser = 'www'\n\
                capabilities = ['net_bind_service']\nno-new-privileges = true\n";
    guest.run("mkdir -p /etc/services.d")?;
    guest.write("/etc/services.d/show.toml", show)?;
    guest.run("initctl reload && initctl start show")?;
    guest.run("i=0; until grep NoNewPrivs /run/log/show.log || [ $i = 50 ]; do i=$((i+1)); sleep 0.1; done")?;
    let log = guest.run("tr '\\t' ' ' </run/log/show.log")?;
    let expected = [
        "Uid: 33 33 33 33",
        "Gid: 34 34 34 34",
        "Groups: 44 ",
        "CapPrm: 0000000000000400",
        "CapEff: 0000000000000400",
        "CapBnd: 0000000000000400",
        "CapAmb: 0000000000000400",
        "NoNewPrivs: 1",
    ];
    for line in expected {
        ensure!(log.contains(line), guest.failure(&format!("the service's rights have no {line}: {log}")));
    }
    guest.power_off().map(drop)
}
