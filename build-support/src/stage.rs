//! A stage: named inputs, a recipe, and a result in the store.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::cmd::{Cmd, FULL_DISK, Log, Noting};
use crate::manifest::Manifest;
use crate::progress::{self, Status};
use crate::store::{self, Cost, Entry};
use crate::{Arch, Dirs, digest, tree, vars};

/// The stages of a build in their order; the place in this list is the number in the status line. A stage that there are
/// several of for an architecture has its instance as the rest of its name: `kernel-base`, `image-full-disk`.
const PLAN: &[&str] = &[
    "linux-headers",
    "musl",
    "compiler-rt",
    "libcxx",
    "allocator",
    "zlib",
    "zstd",
    "llvm",
    "compat",
    "runtimes",
    "toolchain",
    "busybox",
    "init",
    "boot-config",
    "kernel",
    "package",
    "root",
    "link",
    "loader",
    "identity",
    "signer",
    "signed",
    "image",
];

/// A stage to build or to take from the store.
pub struct Stage<'a> {
    dirs: &'a Dirs,
    /// The kind, a word of [`PLAN`].
    kind: String,
    /// The kind, with the instance where there are several.
    name: String,
    arch: Arch,
    manifest: Manifest,
    resumable: bool,
}

/// A stage's result.
#[derive(Clone, Debug)]
pub struct Built {
    /// The stage's name with the architecture.
    pub stage: String,
    /// The key of its inputs.
    pub key: String,
    /// What it made. Never write into it.
    pub dir: PathBuf,
    /// The digest of what it made.
    pub digest: String,
}

/// A running recipe's surroundings.
pub struct Job<'a> {
    /// The directories of the checkout and the store.
    pub dirs: &'a Dirs,
    /// Where to build.
    pub work: PathBuf,
    /// What to leave: this directory becomes the result.
    pub out: PathBuf,
    log: Arc<Log>,
    status: Arc<Status>,
}

impl Job<'_> {
    /// A command whose output goes to the stage's log.
    pub fn cmd(&self, program: impl AsRef<std::ffi::OsStr>) -> Cmd {
        Cmd::new(program).log(&self.log).status(&self.status)
    }

    /// Asks a program something and returns its answer.
    pub fn read(&self, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Result<String> {
        let cmd = Cmd::new(program).args(args);
        let wanted = format!("ask `{}`", cmd.text());
        cmd.read(&wanted)
    }

    /// A directory below the work directory, made when missing.
    pub fn dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.work.join(name);
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }
}

impl<'a> Stage<'a> {
    /// A stage for one architecture.
    pub fn new(dirs: &'a Dirs, name: &str, arch: Arch) -> Stage<'a> {
        Stage { dirs, kind: name.into(), name: name.into(), arch, manifest: Manifest::default(), resumable: false }
    }

    /// One of several stages of a kind, such as the kernel of a variant. The name is part of the result's, of the mark of
    /// what was wanted, of the log and of the row in the time table. It is not part of the key: an instance with the same
    /// inputs as another one takes that one's result.
    pub fn instance(mut self, name: &str) -> Self {
        self.name = format!("{}-{name}", self.kind);
        self
    }

    /// The recipe's source, `include_str!` of its own file.
    pub fn recipe(mut self, file: &str, source: &str) -> Self {
        self.manifest.add("recipe", file, &digest::recipe(source));
        self
    }

    /// A source archive by name and digest.
    pub fn source(mut self, name: &str, id: &str) -> Self {
        self.manifest.add("source", name, id);
        self
    }

    /// A setting: flags, a configuration, a file's content.
    pub fn input(mut self, name: &str, value: &str) -> Self {
        self.manifest.add("input", name, value);
        self
    }

    /// A result that this stage builds on, by the digest of what it holds.
    pub fn needs(mut self, built: &Built) -> Self {
        self.manifest.add("needs", &built.stage, &built.digest);
        self
    }

    /// A host tool whose version changes the result.
    pub fn tool(mut self, name: &str, version: &str) -> Self {
        self.manifest.add("tool", name, version);
        self
    }

    /// The recipe can go on in the work directory that an interrupted build of the same inputs left.
    pub fn resumable(mut self) -> Self {
        self.resumable = true;
        self
    }

    /// Returns the result from the store, or runs the recipe.
    pub fn build(self, recipe: impl FnOnce(&Job) -> Result<()>) -> Result<Built> {
        self.dirs.create()?;
        let (stage, key) = (format!("{}-{}", self.name, self.arch), self.manifest.key());
        tree::write_atomically(&store::wanted_file(self.dirs, &stage), self.manifest.to_string().as_bytes())?;
        if let Some(entry) = self.find(&stage, &key)? {
            return self.reuse(&entry);
        }
        ensure!(
            !vars::from_store().contains(&stage),
            "{stage} is not in the store, and {} forbids to build it\nhint: unset {0}",
            vars::FROM_STORE
        );
        let _lock = lock(self.dirs, &stage)?;
        if let Some(entry) = self.find(&stage, &key)? {
            return self.reuse(&entry);
        }
        let entry = self.make(&stage, &key, recipe).map_err(|error| explain(error, &stage))?;
        self.record(&entry, "built")?;
        self.built(&entry)
    }

    /// The result of this stage, or of another instance with the same inputs.
    fn find(&self, stage: &str, key: &str) -> Result<Option<Entry>> {
        if let Some(entry) = Entry::open(&self.dirs.store(), stage, key) {
            return Ok(Some(entry));
        }
        if self.kind == self.name {
            return Ok(None);
        }
        let (begin, end) = (format!("{}-", self.kind), format!("-{}", self.arch));
        let same = |entry: &Entry| entry.key == key && entry.stage.starts_with(&begin) && entry.stage.ends_with(&end);
        Ok(store::entries(&self.dirs.store())?.into_iter().find(same))
    }

    fn built(&self, entry: &Entry) -> Result<Built> {
        let stage = format!("{}-{}", self.name, self.arch);
        Ok(Built { stage, key: entry.key.clone(), dir: entry.out(), digest: entry.digest()? })
    }

    fn reuse(&self, entry: &Entry) -> Result<Built> {
        progress::line(&format!("{} from the store ({})", self.label(), entry.key));
        self.record(entry, "store")?;
        self.built(entry)
    }

    fn make(&self, stage: &str, key: &str, recipe: impl FnOnce(&Job) -> Result<()>) -> Result<Entry> {
        let why = self.why(stage)?;
        let (work, out) = self.prepare(stage, key)?;
        let log = Log::create(&self.log_file())?;
        log.line(&format!("{stage} {key}\n{why}"))?;
        let last = store::newest(&self.dirs.store(), stage)?.map(|entry| entry.cost().seconds);
        let status = Arc::new(Status::start(self.label(), log.path.display().to_string(), last));
        for change in why.lines().take(3) {
            progress::line(&format!("{}   {change}", self.label()));
        }
        let started = Instant::now();
        let noting = Noting::start(&log);
        recipe(&Job { dirs: self.dirs, work: work.clone(), out: out.clone(), log: Arc::clone(&log), status })?;
        drop(noting);
        let seconds = started.elapsed().as_secs_f64();
        let usage = log.usage();
        let cost = Cost {
            seconds,
            cpu_seconds: usage.cpu_seconds,
            peak_bytes: usage.peak_bytes,
            disk_bytes: store::disk_usage(&out)?,
        };
        let entry = self.commit(stage, key, &work, &why, cost)?;
        progress::line(&format!("{} done in {}", self.label(), progress::duration(seconds)));
        Ok(entry)
    }

    /// Makes the work directory: the one that an interrupted build left when it can be resumed, else a new one.
    fn prepare(&self, stage: &str, key: &str) -> Result<(PathBuf, PathBuf)> {
        let work = self.dirs.work().join(stage);
        let mark = work.join(".key");
        let same = fs::read_to_string(&mark).is_ok_and(|text| text == key);
        if work.exists() && !(self.resumable && same) {
            fs::remove_dir_all(&work)?;
        }
        fs::create_dir_all(&work)?;
        fs::write(&mark, key)?;
        let out = work.join("result/out");
        if out.exists() {
            fs::remove_dir_all(&out)?;
        }
        fs::create_dir_all(&out)?;
        Ok((work, out))
    }

    /// Completes the result beside `out`, then renames it into the store.
    fn commit(&self, stage: &str, key: &str, work: &Path, why: &str, cost: Cost) -> Result<Entry> {
        let result = work.join("result");
        let sources = fs::read_to_string(work.join("sources")).unwrap_or_default();
        fs::write(result.join("manifest"), self.manifest.to_string())?;
        fs::write(result.join("why"), format!("{why}\n"))?;
        fs::write(result.join("cost"), format!("{cost}\n"))?;
        fs::write(result.join("sources"), sources)?;
        fs::write(result.join("commands"), commands(&fs::read_to_string(self.log_file())?))?;
        fs::write(result.join("digest"), format!("{}\n", digest::tree(&result.join("out"))?))?;
        let place = self.dirs.store().join(format!("{stage}-{key}"));
        if place.exists() {
            fs::remove_dir_all(&place)?; // No result: it has no digest.
        }
        tree::sync(&result)?;
        fs::rename(&result, &place)?;
        if !vars::on(vars::KEEP_WORK, false) {
            fs::remove_dir_all(work)?;
        }
        Entry::open(&self.dirs.store(), stage, key).context("the result vanished from the store")
    }

    fn why(&self, stage: &str) -> Result<String> {
        Ok(match store::newest(&self.dirs.store(), stage)? {
            None => "  no earlier result".into(),
            Some(last) => {
                let changes = self.manifest.changes_since(&last.manifest()?);
                changes.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
            }
        })
    }

    /// Writes this stage's row of `build-times.tsv`. A stage that this process built and asks for again was built.
    fn record(&self, entry: &Entry, from: &str) -> Result<()> {
        static BUILT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        if from == "built" {
            built.insert(entry.dir.clone());
        } else if built.contains(&entry.dir) {
            return Ok(());
        }
        let file = self.dirs.log(self.arch).join("build-times.tsv");
        let header = "stage\tfrom\tseconds\tcpu_seconds\tpeak_bytes\tdisk_bytes";
        let old = fs::read_to_string(&file).unwrap_or_default();
        let mine = format!("{}\t{from}\t{}", self.name, entry.cost());
        let others = old.lines().filter(|line| *line != header && line.split('\t').next() != Some(&self.name));
        let mut rows: Vec<&str> = others.chain([mine.as_str()]).collect();
        rows.sort_by_key(|row| place(row.split('\t').next().unwrap_or_default()));
        let text = std::iter::once(header).chain(rows).map(|row| format!("{row}\n")).collect::<String>();
        tree::write_atomically(&file, text.as_bytes())
    }

    fn label(&self) -> String {
        format!("[{}/{}] {} {}", place(&self.name), PLAN.len(), self.name, self.arch)
    }

    fn log_file(&self) -> PathBuf {
        self.dirs.log(self.arch).join(format!("{:02}-{}.log", place(&self.name), self.name))
    }
}

/// The commands that a log has, one a line, as a person can run them again.
fn commands(log: &str) -> String {
    log.lines().filter_map(|line| line.strip_prefix("$ ")).map(|command| format!("{command}\n")).collect()
}

/// A stage's place in the plan. An instance (`kernel-base`) stands where its kind does (`kernel`).
fn place(name: &str) -> usize {
    let of = |known: &&str| *known == name || name.starts_with(&format!("{known}-"));
    // The longest known name wins, so that nothing is taken for its own beginning.
    PLAN.iter()
        .enumerate()
        .filter(|(_, known)| of(known))
        .max_by_key(|(_, known)| known.len())
        .map_or(PLAN.len(), |(i, _)| i + 1)
}

/// Names the stage, and says what to do when a recipe itself met a full disk. (A command's error has its hint.)
fn explain(error: anyhow::Error, stage: &str) -> anyhow::Error {
    let full = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull)
    };
    let hint = if error.chain().any(full) { format!("\nhint: {FULL_DISK}") } else { String::new() };
    error.context(format!("stage {stage} failed{hint}"))
}

/// Takes the lock of a stage, and says for whom it waits. The lock ends with the process and with every command that
/// it started, however they end: what a killed build leaves running still writes into the work directory.
pub fn lock(dirs: &Dirs, name: &str) -> Result<fs::File> {
    let path = dirs.locks().join(format!("{name}.lock"));
    let file = fs::File::options().create(true).read(true).append(true).open(&path)?;
    if file.file().try_lock().is_err() {
        // Empty for the moment between its lock and its note.
        let holder = fs::read_to_string(&path).unwrap_or_default();
        let process =
            if holder.trim().is_empty() { "another process".into() } else { format!("process {}", holder.trim()) };
        progress::line(&format!("{name}: {process} is at work on it; waiting"));
        file.file().lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    fs::write(&path, format!("{}\n", std::process::id()))?;
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).context("cannot pass a lock on to commands")?;
    Ok(file)
}
