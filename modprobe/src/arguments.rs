//! The command line, which is modprobe(8)'s of kmod as far as it goes.

/// The answer to `--help`.
pub const USAGE: &str = "\
usage: modprobe [OPTION]... NAME [PARAMETER=VALUE]...
       modprobe [OPTION]... -a NAME...
       modprobe -r [OPTION]... NAME...
Loads kernel modules by name or alias, those that they depend on first.
  -a, --all            every argument is a module or an alias
  -b, --use-blacklist  pass over what modprobe.d blacklists, also by name
  -n, --dry-run        do all but load or remove
  -q, --quiet          say nothing of a name that no module has
  -r, --remove         remove the modules
  -v, --verbose        say what is loaded or removed
      --help           show this
exit codes: 0 done, 1 not all of it, 2 wrong usage
";

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Pass over what modprobe.d blacklists, also where it is asked for by its own name.
    pub blacklist: bool,
    /// Load and remove nothing.
    pub dry: bool,
    /// Say nothing of a name that no module has.
    pub quiet: bool,
    /// Remove instead of load.
    pub remove: bool,
    /// Say what is done.
    pub verbose: bool,
    /// Names of modules or aliases.
    pub names: Vec<String>,
    /// Parameters for the one module, as they are written.
    pub parameters: Vec<String>,
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To load or remove.
    Run(Arguments),
    /// For the usage.
    Help,
}

/// Reads the arguments.
///
/// # Errors
/// What is wrong with them, for people.
pub fn parse(words: &[&str]) -> Result<Asked, String> {
    let mut arguments = Arguments::default();
    let (mut all, mut options) = (false, true);
    let mut free = Vec::new();
    for word in words {
        match *word {
            "--" if options => options = false,
            "--help" if options => return Ok(Asked::Help),
            "--all" if options => all = true,
            "--use-blacklist" if options => arguments.blacklist = true,
            "--dry-run" if options => arguments.dry = true,
            "--quiet" if options => arguments.quiet = true,
            "--remove" if options => arguments.remove = true,
            "--verbose" if options => arguments.verbose = true,
            long if options && long.starts_with("--") => return Err(format!("unknown option '{long}'")),
            short if options && short.len() > 1 && short.starts_with('-') => {
                for letter in short.chars().skip(1) {
                    match letter {
                        'a' => all = true,
                        'b' => arguments.blacklist = true,
                        'h' => return Ok(Asked::Help),
                        'n' => arguments.dry = true,
                        'q' => arguments.quiet = true,
                        'r' => arguments.remove = true,
                        'v' => arguments.verbose = true,
                        other => return Err(format!("unknown option '-{other}'")),
                    }
                }
            }
            free_word => free.push(free_word.to_owned()),
        }
    }
    if !all && !arguments.remove && free.len() > 1 {
        arguments.parameters = free.split_off(1);
    }
    arguments.names = free;
    if arguments.names.is_empty() {
        return Err("no module is named".into());
    }
    Ok(Asked::Run(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &[&str]) -> Arguments {
        match parse(words) {
            Ok(Asked::Run(arguments)) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn words_after_the_name_are_its_parameters() {
        let one = arguments(&["-q", "--", "loop", "max_loop=8", "a=b c"]);
        assert_eq!((one.names, one.parameters), (vec!["loop".into()], vec!["max_loop=8".into(), "a=b c".into()]));
        assert!(one.quiet && !one.remove);
    }

    #[test]
    fn all_and_remove_take_names_alone() {
        for words in [&["-abq", "--", "loop", "pci:v1"][..], &["-r", "loop", "pci:v1"]] {
            let many = arguments(words);
            assert_eq!((many.names, many.parameters), (vec!["loop".into(), "pci:v1".into()], vec![]));
        }
        assert!(arguments(&["-ab", "x"]).blacklist);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, message) in [
            (&[][..], "no module"),
            (&["-a", "--"], "no module"),
            (&["--force", "x"], "'--force'"),
            (&["-az", "x"], "'-z'"),
        ] {
            assert!(parse(words).unwrap_err().contains(message), "{words:?}");
        }
        assert_eq!(parse(&["--help"]), Ok(Asked::Help));
        assert_eq!(arguments(&["--", "-a"]).names, ["-a"]);
    }
}
