//! Programs of a real linker for both architectures, signed with keys that openssl made, and judged by sbverify.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use build_support::host_clang::HostClang;
use build_support::{Cmd, fs, host};
use efi_sign::{Program, Signer, sign};

/// As clang and lld call what EFI programs are linked for.
const TARGETS: &[(&str, &str)] = &[("x86_64-unknown-windows", "i386pep"), ("aarch64-unknown-windows", "arm64pe")];

/// Makes a key of a kind that openssl-req(1) knows, and its certificate.
fn make_key(dir: &Path, name: &str, kind: &[&str]) -> Result<(PathBuf, PathBuf)> {
    let (key, certificate) = (dir.join(format!("{name}.key")), dir.join(format!("{name}.crt")));
    Cmd::new("openssl")
        .args(["req", "-new", "-x509", "-batch", "-nodes", "-subj", "/O=Test/CN=Tester", "-newkey"])
        .args(kind)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .run("make a key")?;
    Ok((key, certificate))
}

fn signer(key: &Path, certificate: &Path) -> Result<Signer> {
    Signer::from_pem(&fs::read_to_string(key)?, &fs::read_to_string(certificate)?)
}

/// Compiles and links the smallest program, with `behind` bytes behind its sections.
fn program(dir: &Path, target: (&str, &str), behind: usize) -> Result<Vec<u8>> {
    let (source, object, out) = (dir.join("program.c"), dir.join("program.o"), dir.join("program.efi"));
    fs::write(&source, "char text[3000] = \"text\";\nlong efi_main(void *image, void *table) { return text[0]; }\n")?;
    let clang = HostClang::find()?;
    Cmd::new(clang.program("clang")?)
        .args(["-target", target.0, "-ffreestanding", "-O1", "-c", "-o"])
        .arg(&object)
        .arg(&source)
        .run("compile an EFI program")?;
    Cmd::new(clang.program("ld.lld")?)
        .args(["-m", target.1, "--subsystem", "efi_application", "-e", "efi_main", "-o"])
        .arg(&out)
        .arg(&object)
        .run("link an EFI program")?;
    Ok([fs::read(out)?, vec![7; behind]].concat())
}

/// What sbverify says of a program.
fn verdict(dir: &Path, program: &[u8], certificate: &Path) -> Result<(bool, String)> {
    let file = dir.join("judged.efi");
    fs::write(&file, program)?;
    let output = Command::new("sbverify").arg("--cert").arg(certificate).arg(&file).output().context("sbverify")?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Ok((output.status.success(), text))
}

#[test]
fn sbverify_takes_what_is_signed_and_nothing_else() -> Result<()> {
    if host::find_program("sbverify").is_none() {
        testing::skip("sbverify is not installed");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let (_, other) = make_key(dir, "other", &["rsa:2048"])?;
    for (name, kind) in [("small", "rsa:2048"), ("large", "rsa:4096")] {
        let (key, certificate) = make_key(dir, name, &[kind])?;
        let signer = signer(&key, &certificate)?;
        for target in TARGETS.iter().copied() {
            for behind in 0..=8 {
                let signed = sign(&program(dir, target, behind)?, &signer)?;
                ensure!(signed.len() % 8 == 0 && Program::parse(&signed)?.is_signed());
                let (good, text) = verdict(dir, &signed, &certificate)?;
                ensure!(good, "{target:?} with {behind} bytes behind: {text}");
            }
            let mut signed = sign(&program(dir, target, 0)?, &signer)?;
            ensure!(!verdict(dir, &signed, &other)?.0, "another certificate is good, too");
            let text = signed.windows(5).position(|window| window == b"text\0").context("no text")?;
            signed[text] ^= 1;
            ensure!(!verdict(dir, &signed, &certificate)?.0, "a changed program is good");
        }
    }
    Ok(())
}

#[test]
fn the_same_key_gives_the_same_bytes() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let (key, certificate) = make_key(dir, "key", &["rsa:2048"])?;
    let program = program(dir, TARGETS[0], 3)?;
    let signed = sign(&program, &signer(&key, &certificate)?)?;
    ensure!(signed == sign(&program, &signer(&key, &certificate)?)?);
    // The same key in the older form.
    let older = dir.join("older.key");
    Cmd::new("openssl").args(["rsa", "-traditional", "-in"]).arg(&key).arg("-out").arg(&older).run("convert a key")?;
    ensure!(fs::read_to_string(&older)?.contains("BEGIN RSA PRIVATE KEY"));
    ensure!(signed == sign(&program, &signer(&older, &certificate)?)?);
    let error = sign(&signed, &signer(&key, &certificate)?).unwrap_err();
    ensure!(format!("{error:#}").contains("it is signed\nhint: "), "{error:#}");
    Ok(())
}

#[test]
fn what_cannot_sign_is_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let (key, certificate) = make_key(dir, "key", &["rsa:2048"])?;
    let (other, _) = make_key(dir, "other", &["rsa:2048"])?;
    let (curve, of_curve) = make_key(dir, "curve", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"])?;
    let locked = dir.join("locked.key");
    Cmd::new("openssl")
        .args(["pkcs8", "-topk8", "-passout", "pass:secret", "-in"])
        .arg(&key)
        .arg("-out")
        .arg(&locked)
        .run("lock a key")?;
    let empty = dir.join("empty");
    fs::write(&empty, "")?;
    for (key, certificate, part) in [
        (&other, &certificate, "of another key"),
        (&locked, &certificate, "passphrase"),
        (&curve, &of_curve, "no RSA key"),
        (&key, &of_curve, "not of an RSA key"),
        (&empty, &certificate, "no PEM with a private key"),
        (&key, &empty, "the certificate cannot be used: it is no PEM"),
        (&key, &key, "the certificate cannot be used: it is no PEM"),
    ] {
        let error = signer(key, certificate).err().with_context(|| format!("`{part}` was not refused"))?;
        ensure!(format!("{error:#}").contains(part), "`{part}` is not in: {error:#}");
    }
    Ok(())
}

#[test]
fn the_program_signs_files() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path();
    let (key, certificate) = make_key(dir, "key", &["rsa:2048"])?;
    let (from, to) = (dir.join("program.efi"), dir.join("signed.efi"));
    let bytes = program(dir, TARGETS[1], 0)?;
    let run = |args: &[&Path]| Command::new(env!("CARGO_BIN_EXE_efi-sign")).args(args).output();
    let output = run(&[&key, &certificate, &from, &to])?;
    ensure!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    ensure!(fs::read(&to)? == sign(&bytes, &signer(&key, &certificate)?)?);
    let output = run(&[&key, &certificate, &key, &to])?;
    let text = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(1) && text.starts_with("efi-sign: cannot sign ") && text.contains("`MZ`"),
        "{text}"
    );
    ensure!(run(&[&key])?.status.code() == Some(2));
    Ok(())
}
