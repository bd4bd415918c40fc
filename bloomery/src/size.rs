//! `size`: what the outputs of a profile are made of, in bytes.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;

use build_support::inspect::print;
use build_support::{Arch, Context as _, Result, fs, vars};
use serde_json::{Map, Value, json};
use system::outputs::{self, MANIFEST};

use crate::context::{Context, arch};
use crate::pe;

/// Show the bytes of a profile's outputs by part
#[derive(clap::Args)]
pub struct Args {
    /// A name from image/profiles/, or the path of your own TOML file
    #[arg(value_name = "PROFILE", default_value = "full")]
    profile: String,
    /// x86_64 or arm64 [default: $BLOOMERY_ARCH, else this machine's]
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Bytes by part: a name, and its size.
type Parts = Vec<(String, u64)>;

/// What a profile's outputs are made of.
struct Sizes {
    profile: String,
    arch: Arch,
    /// Each output: its path from `target/bloomery/ARCH/`, its bytes, and those that it has on disk.
    files: Vec<(String, u64, u64)>,
    /// The kernel's sections.
    kernel: Parts,
    /// The files of the root file system, by the stage that made them.
    stages: Parts,
    /// The same by directory.
    directories: Parts,
}

/// Prints the sizes.
pub fn run(context: &Context, args: &Args) -> Result<ExitCode> {
    let arch = match &args.arch {
        Some(name) => arch(name)?,
        None => vars::archs()?[0],
    };
    let sizes = measure(context, &args.profile, arch)?;
    print(&if args.json { format!("{:#}\n", sizes.json()) } else { sizes.text() })?;
    Ok(ExitCode::SUCCESS)
}

fn measure(context: &Context, name: &str, arch: Arch) -> Result<Sizes> {
    let profile = context.profile(&context.profile_name(name)?)?;
    let out = context.dirs.output(arch);
    let own = out.join(outputs::directory(&profile));
    context.require_outputs(&profile, name, arch)?;
    let mut files = Vec::new();
    for file in profile.outputs.iter().flat_map(|output| output.files()) {
        // A file that only one architecture has is not there for the other.
        if out.join(&file).symlink_metadata().is_ok() {
            let (bytes, allocated) = usage(&out.join(&file))?;
            files.push((file, bytes, allocated));
        }
    }
    let kernel = match outputs::kernel(&profile) {
        Some(file) => pe::sections(&fs::read(out.join(&file))?).with_context(|| format!("{file} is no EFI program"))?,
        None => Vec::new(),
    };
    let manifest = fs::read_to_string(own.join(MANIFEST))?;
    let (stages, directories) = parts(&manifest)?;
    Ok(Sizes { profile: profile.name, arch, files, kernel, stages, directories })
}

/// Bytes of a file or of all files of a directory, and those that they have on disk.
fn usage(path: &Path) -> Result<(u64, u64)> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_dir() {
        return Ok((meta.len(), meta.blocks() * 512)); // In this unit whatever the block size, stat(2).
    }
    let (mut bytes, mut allocated) = (0, meta.blocks() * 512);
    for entry in fs::read_dir(path)? {
        let (more, on_disk) = usage(&entry?.path())?;
        bytes += more;
        allocated += on_disk;
    }
    Ok((bytes, allocated))
}

/// The bytes of all files of a manifest by stage and by directory, the largest first.
fn parts(manifest: &str) -> Result<(Parts, Parts)> {
    let mut lines = manifest.lines();
    let columns: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let column = |name: &str| {
        columns.iter().position(|column| *column == name).with_context(|| format!("{MANIFEST} has no column `{name}`"))
    };
    let (path, kind, size, stage) = (column("path")?, column("kind")?, column("size")?, column("stage")?);
    let (mut stages, mut directories) = (BTreeMap::new(), BTreeMap::new());
    for line in lines {
        let fields: Vec<&str> = line.split('\t').collect();
        let field =
            |at: usize| fields.get(at).copied().with_context(|| format!("{MANIFEST} has the short line `{line}`"));
        if field(kind)? == "file" {
            let bytes: u64 = field(size)?.parse().with_context(|| format!("{MANIFEST} has no size in `{line}`"))?;
            *stages.entry(field(stage)?.to_string()).or_insert(0) += bytes;
            *directories.entry(top(field(path)?)).or_insert(0) += bytes;
        }
    }
    Ok((largest_first(stages), largest_first(directories)))
}

/// The directory that a file counts to: the first of its path, and below `/usr` the second, because all programs are there.
fn top(path: &str) -> String {
    let depth = if path.starts_with("/usr/") { 2 } else { 1 };
    let names: Vec<&str> = path.split('/').skip(1).collect();
    let dirs = &names[..names.len().saturating_sub(1).min(depth)];
    format!("/{}", dirs.join("/"))
}

fn largest_first(sizes: BTreeMap<String, u64>) -> Parts {
    let mut parts: Parts = sizes.into_iter().collect();
    parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    parts
}

impl Sizes {
    fn text(&self) -> String {
        let mut text = format!("{} for {}, in bytes\n\noutputs (whole size, on disk)\n", self.profile, self.arch);
        for (file, bytes, allocated) in &self.files {
            text += &format!("{bytes:>12} {allocated:>12}  {file}\n");
        }
        for (title, parts) in [
            ("kernel, by section", &self.kernel),
            ("root file system, by stage", &self.stages),
            ("root file system, by directory", &self.directories),
        ] {
            if !parts.is_empty() {
                text += &format!("\n{title}\n");
                for (name, bytes) in parts {
                    text += &format!("{bytes:>12}  {name}\n");
                }
                text += &format!("{:>12}  together\n", parts.iter().map(|(_, bytes)| bytes).sum::<u64>());
            }
        }
        text
    }

    fn json(&self) -> Value {
        let object =
            |parts: &Parts| Value::Object(parts.iter().map(|(name, bytes)| (name.clone(), json!(bytes))).collect());
        let files: Map<String, Value> = self
            .files
            .iter()
            .map(|(file, bytes, allocated)| (file.clone(), json!({ "bytes": bytes, "allocated": allocated })))
            .collect();
        json!({
            "profile": self.profile,
            "arch": self.arch.name(),
            "outputs": files,
            "kernel": object(&self.kernel),
            "stages": object(&self.stages),
            "directories": object(&self.directories),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_once_by_stage_and_by_directory() {
        let manifest = "path\tkind\tmode\tsize\tsha256\tstage\n/init\tfile\t0755\t5\tab\tinit\n/bin\tlink\t0777\t7\t-> usr/bin\tskeleton\n\
                        /usr/bin/a\tfile\t0755\t100\tab\tbusybox\n/usr/bin/deep/b\tfile\t0644\t20\tab\tllvm\n\
                        /etc/x/y\tfile\t0644\t3\tab\tskeleton\n";
        let (stages, directories) = parts(manifest).unwrap();
        let pair = |name: &str, bytes| (name.to_string(), bytes);
        assert_eq!(stages, [pair("busybox", 100), pair("llvm", 20), pair("init", 5), pair("skeleton", 3)]);
        assert_eq!(directories, [pair("/usr/bin", 120), pair("/", 5), pair("/etc", 3)]);
        assert!(parts("path\tkind\n").unwrap_err().to_string().contains("no column `size`"));
        assert!(parts("path\tkind\tsize\tstage\n/x\tfile\tmany\tinit\n").is_err());
    }
}
