//! The faults of busybox and of musl's resolver that `vendor/known-faults.toml` lists, each as it is today. A check here fails when a
//! new pin has repaired its fault: then the entry goes, and the check with it.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use build_support::Arch;
use common::guest::{Guest, Start, extra};
use common::network::inside;
use common::outputs::Outputs;
use common::slots;
use system::machine::{Accelerator, Options};

fn boot(outputs: &Outputs, name: &str) -> Result<Guest> {
    let options =
        Options { accelerator: Accelerator::Tcg, snapshot: true, extra: extra(&["-no-reboot"]), ..Options::default() };
    Guest::boot(outputs, &Start { options, ..Start::new(name, "base") })
}

for_each_arch! { programs_of_busybox_differ_as_the_page_says }

fn programs_of_busybox_differ_as_the_page_says(arch: Arch) -> Result<()> {
    let Some(outputs) = Outputs::of(arch, "base")? else { return Ok(()) };
    let _slot = slots::one();
    let mut guest = boot(&outputs, "known-faults")?;
    guest.run("timeout 1 sleep 9; [ $? = 143 ]")?;
    guest.power_off().map(drop)
}

/// With the image of the host's architecture: resolver and programs are the same for the other one.
#[test]
fn names_are_found_as_the_page_says() -> Result<()> {
    let Some(outputs) = Outputs::of(Arch::host()?, "base")? else { return Ok(()) };
    let _slot = slots::one();
    inside("names_are_found_as_the_page_says", || ask_names(&outputs))
}

/// How the server answers a question for a type, by the first label of the name.
const ANSWERS: &[(&str, Answer, Answer)] = &[
    ("both", Answer::Address, Answer::None),
    ("nx6", Answer::Address, Answer::Code(3)),
    ("refused6", Answer::Address, Answer::Code(5)),
    ("servfail6", Answer::Address, Answer::Code(2)),
    ("cut", Answer::Cut, Answer::None),
];

/// An answer to a question for A, or for AAAA.
#[derive(Clone, Copy)]
enum Answer {
    /// The host.
    Address,
    /// No record, and no error.
    None,
    /// An error (RFC 1035, section 4.1.1: 2 is a failure, 3 says that the name has no records at all, 5 is a refusal).
    Code(u8),
    /// More than UDP takes, so it has to be asked by TCP (RFC 7766).
    Cut,
}

/// The guest's name for the host, where the server listens.
const HOST: [u8; 4] = [10, 0, 2, 2];
/// The types of records (RFC 1035, section 3.2.2; RFC 3596).
const A: u16 = 1;
const AAAA: u16 = 28;

fn ask_names(outputs: &Outputs) -> Result<()> {
    common::servers::ip("link set lo up\n")?;
    serve()?;
    let mut guest = boot(outputs, "names")?;
    guest.run("echo nameserver 10.0.2.2 >/etc/resolv.conf")?;
    guest.run("ping -c1 both.test && ping -4 -c1 both.test")?;

    // A name that one answer denies is not there, unless that question is not asked.
    for name in ["nx6", "refused6", "servfail6"] {
        guest.run(&format!("! ping -c1 {name}.test")).with_context(|| format!("{name} is found now"))?;
        guest.run(&format!(
            "! wget -q -T 9 -O /dev/null http://{name}.test:9/ 2>/tmp/said; grep 'bad address' /tmp/said"
        ))?;
        guest.run(&format!("ping -4 -c1 {name}.test"))?;
        guest.run(&format!("nslookup -type=a {name}.test 10.0.2.2 | grep 'Address: 10.0.2.2'"))?;
    }

    // musl asks by TCP.
    guest.run("ping -c1 cut.test")?;
    let said = guest.ask("nslookup -type=a cut.test 10.0.2.2")?.output;
    ensure!(!said.contains("Address: 10.0.2.2"), guest.failure(&format!("nslookup asks by TCP now: {said}")));
    guest.power_off().map(drop)
}

/// Answers on port 53 of the loopback address, which is the guest's 10.0.2.2, until the test ends.
fn serve() -> Result<()> {
    let udp = UdpSocket::bind(("127.0.0.1", 53)).context("cannot listen on port 53")?;
    let tcp = TcpListener::bind(("127.0.0.1", 53)).context("cannot listen on port 53")?;
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, peer)) = udp.recv_from(&mut question) {
            if let Some(reply) = reply(&question[..length], false) {
                let _ = udp.send_to(&reply, peer); // The guest asks again.
            }
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut length = [0; 2];
            let _ = stream.read_exact(&mut length).and_then(|()| {
                let mut question = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut question)?;
                let reply = reply(&question, true).unwrap_or_default();
                stream.write_all(&[&u16::try_from(reply.len()).unwrap_or(0).to_be_bytes(), &reply[..]].concat())
            });
        }
    });
    Ok(())
}

/// The reply to a question (RFC 1035, section 4.1); nothing for what is none.
fn reply(question: &[u8], is_tcp: bool) -> Option<Vec<u8>> {
    const HEAD: usize = 12;
    let first = usize::from(*question.get(HEAD)?);
    let label = std::str::from_utf8(question.get(HEAD + 1..=HEAD + first)?).ok()?;
    let end = HEAD + question.get(HEAD..)?.iter().position(|byte| *byte == 0)? + 1;
    let kind = u16::from_be_bytes(question.get(end..end + 2)?.try_into().ok()?);
    let known = ANSWERS.iter().find(|(name, _, _)| *name == label);
    let answer = match (known, kind) {
        (Some((_, answer, _)), A) | (Some((_, _, answer)), AAAA) => *answer,
        _ => Answer::Code(3),
    };
    let (code, cut, count) = match answer {
        Answer::Address => (0, 0, 1_u16),
        Answer::None => (0, 0, 0),
        Answer::Code(code) => (code, 0, 0),
        Answer::Cut if is_tcp => (0, 0, 40),
        Answer::Cut => (0, 2, 0),
    };
    let mut reply = question.get(..2)?.to_vec();
    // A response, with recursion as it was asked for and done; one question; no other records than answers.
    reply.extend([0x80 | (question[2] & 1) | cut, 0x80 | code, 0, 1]);
    reply.extend(count.to_be_bytes());
    reply.extend([0; 4]);
    reply.extend(question.get(HEAD..end + 4)?);
    for _ in 0..count {
        // The name is that at the question; a minute to live; four bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(HOST);
    }
    Some(reply)
}
