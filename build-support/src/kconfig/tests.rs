use super::*;

const TOP: &str = r#"
mainmenu "Test/$(ARCH)"
cc-option = $(success,false)
source "drivers/Kconfig"
source "arch/$(SRCARCH)/Kconfig"

config NET
	bool "Networking"

config MODULES
	bool "Modules"
	help
	  A help text that says
	  config NOT_A_SYMBOL
	  depends on nothing.

config LOG_SHIFT
	int "Size"
	range 12 25
	default 17

choice
	prompt "Compression"
config GZ
	bool "gzip"
config ZST
	bool "zstd"
endchoice

config LIBRARY
	tristate

config NEEDS_LIBRARY
	bool "User"
	depends on LIBRARY

config FAST
	bool "Fast" if EXPERT
	depends on $(cc-option,-mfast) && \
		NET
"#;

const DRIVERS: &str = r#"
menu "Drivers"
	depends on NET
	visible if !EMBEDDED

menuconfig VIRT
	bool "Virtual \"drivers\""

if VIRT
config VMGEN
	tristate "Generation"
	depends on (ACPI || OF) && LOG_SHIFT > 4
	select LIBRARY if ACPI
endif
endmenu

config ACPI
	bool
	default y

config OF
	bool "Device tree"

config EMBEDDED
	bool "Embedded"
"#;

/// A small Kconfig tree on disk.
fn sample() -> (tempfile::TempDir, Tree) {
    let dir = tempfile::tempdir().unwrap();
    for sub in ["drivers", "arch/x86"] {
        fs_err::create_dir_all(dir.path().join(sub)).unwrap();
    }
    let files =
        [("Kconfig", TOP), ("drivers/Kconfig", DRIVERS), ("arch/x86/Kconfig", "config EXPERT\n\tbool \"Expert\"\n")];
    for (name, text) in files {
        fs_err::write(dir.path().join(name), text).unwrap();
    }
    let tree = Tree::linux(dir.path(), "x86_64");
    (dir, tree)
}

fn fragment(text: &str) -> Fragment {
    Fragment::parse(Path::new("some.config"), text).unwrap()
}

/// The message for the one request in `asked` that `config` does not honour.
fn message(asked: &str, config: &str) -> String {
    let (_dir, tree) = sample();
    let dropped = check(&Merged::new(&[fragment(asked)]), config, Some(&tree)).unwrap_err();
    assert_eq!(dropped.len(), 1, "{}", report(&dropped));
    dropped[0].to_string()
}

#[test]
fn a_fragment_has_requests_with_their_lines() {
    let fragment =
        fragment("# why\nCONFIG_A=y\n# CONFIG_B is not set\n\nCONFIG_C=\"x y\"\nCONFIG_D=0x10\nCONFIG_E=n\n");
    let got: Vec<_> = fragment.asks.iter().map(|ask| (ask.symbol.as_str(), ask.value.clone(), ask.line)).collect();
    let text = |text: &str| Value::Text(text.to_string());
    assert_eq!(
        got,
        [
            ("A", Value::Yes, 2),
            ("B", Value::No, 3),
            ("C", text("\"x y\""), 5),
            ("D", text("0x10"), 6),
            ("E", Value::No, 7)
        ]
    );
    assert_eq!(fragment.unexplained, [5]);
}

#[test]
fn misspelt_lines_are_refused() {
    for line in
        ["#CONFIG_A is not set", "# CONFIG_A not set", "CONFIG_A = y", "CONFIG_A", "A=y", "CONFIG_A=", "CONFIG_A=x y"]
    {
        let error = Fragment::parse(Path::new("f"), &format!("\n{line}\n")).unwrap_err().to_string();
        assert!(error.starts_with("f:2: ") && error.contains("\nhint: "), "{line}: {error}");
    }
    for comment in ["# CONFIG_A=y would be too big", "# plain", "#", "## CONFIG_A is needed for B"] {
        assert!(fragment(comment).asks.is_empty(), "{comment}");
    }
}

#[test]
fn a_symbol_asked_for_twice_in_one_fragment_is_refused() {
    let error = Fragment::parse(Path::new("f"), "CONFIG_A=y\n# CONFIG_A is not set\n").unwrap_err().to_string();
    assert_eq!(error, "f:2: CONFIG_A was already asked for in line 1\nhint: keep one of the two lines");
}

#[test]
fn an_unreadable_fragment_names_its_path() {
    let error = Fragment::read(Path::new("/nonexistent/x.config")).unwrap_err();
    assert!(format!("{error:#}").contains("/nonexistent/x.config"));
}

#[test]
fn the_later_fragment_wins() {
    let first = Fragment::parse(Path::new("1"), "CONFIG_B=y\nCONFIG_A=y\nCONFIG_C=m\n").unwrap();
    let second = Fragment::parse(Path::new("2"), "# CONFIG_A is not set\nCONFIG_B=y\n").unwrap();
    let merged = Merged::new(&[first, second]);
    assert_eq!(merged.seed(), "# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=m\n");
    assert_eq!(merged.overridden.len(), 1);
    assert_eq!((merged.overridden[0].0.place(), merged.overridden[0].1.place()), ("1:2".into(), "2:1".into()));
}

#[test]
fn what_survived_passes() {
    let merged = Merged::new(&[fragment("CONFIG_A=y\n# CONFIG_B is not set\n# CONFIG_C is not set\nCONFIG_D=\"\"\n")]);
    assert!(check(&merged, "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_D=\"\"\n", None).is_ok());
    let dropped = check(&merged, "CONFIG_B=y\nCONFIG_A=m\n", None).unwrap_err();
    let names: Vec<_> = dropped.iter().map(|one| one.ask.symbol.as_str()).collect();
    assert_eq!(names, ["A", "B", "D"]);
    assert!(report(&dropped).starts_with("3 requested symbols did not survive"));
}

#[test]
fn an_unmet_dependency_is_followed_to_what_can_be_asked() {
    let message = message("\nCONFIG_VMGEN=y\n", "CONFIG_ACPI=y\nCONFIG_LOG_SHIFT=17\n# CONFIG_NET is not set\n");
    assert_eq!(
        message,
        "some.config:2: CONFIG_VMGEN=y: Kconfig left it out\n    VMGEN (drivers/Kconfig:10) depends on\n      \
         NET: is not set (Kconfig:7)\n      \
         VIRT: is not set (drivers/Kconfig:6), which in turn depends on NET: is not set (Kconfig:7)\n    \
         hint: add CONFIG_NET=y, CONFIG_VIRT=y\n"
    );
}

#[test]
fn alternatives_and_comparisons_are_told_with_their_values() {
    let message =
        message("CONFIG_VMGEN=y\n", "CONFIG_NET=y\nCONFIG_VIRT=y\n# CONFIG_OF is not set\nCONFIG_LOG_SHIFT=3\n");
    assert!(message.contains("ACPI || OF: ACPI is not set, OF is not set\n"), "{message}");
    assert!(message.contains("LOG_SHIFT > 4: LOG_SHIFT is 3\n"), "{message}");
    assert!(message.contains("hint: add CONFIG_OF=y\n"), "{message}");
}

#[test]
fn a_hidden_menu_and_a_compiler_test_are_told() {
    let met = "CONFIG_NET=y\nCONFIG_EMBEDDED=y\n# CONFIG_VIRT is not set\n";
    let hidden = message("CONFIG_VIRT=y\n", met);
    assert!(hidden.contains("!EMBEDDED: EMBEDDED is y\n"), "{hidden}");
    assert!(hidden.contains("hint: add # CONFIG_EMBEDDED is not set\n"), "{hidden}");
    let tested = message("CONFIG_FAST=y\n", met);
    assert!(tested.contains("$(cc-option,-mfast): a test of the compiler"), "{tested}");
    assert!(tested.contains("EXPERT: is not set (arch/x86/Kconfig:1)\n"), "{tested}");
}

#[test]
fn a_built_in_part_on_top_of_a_module_is_told() {
    let base = "CONFIG_NET=y\nCONFIG_VIRT=m\nCONFIG_ACPI=y\nCONFIG_LOG_SHIFT=17\nCONFIG_VMGEN=m\n";
    let message = message("CONFIG_VMGEN=y\n", base);
    assert!(message.contains("Kconfig made it m\n"), "{message}");
    assert!(message.contains("VIRT: is m, and what is built in cannot rest on a module"), "{message}");
}

#[test]
fn a_symbol_that_does_not_exist_gets_a_suggestion() {
    let typo = message("CONFIG_VMGN=y\n", "");
    assert!(
        typo.contains(
            "VMGN does not exist in this version for this architecture\n    hint: did you mean CONFIG_VMGEN?"
        )
    );
    let help_text = message("CONFIG_NOT_A_SYMBOL=y\n", "");
    assert!(help_text.contains("does not exist"), "{help_text}");
}

#[test]
fn symbols_without_prompt_name_who_selects_them() {
    let selected = message("CONFIG_LIBRARY=y\n", "");
    assert!(selected.contains("LIBRARY (Kconfig:30) has no prompt: it is set by what selects it\n"), "{selected}");
    assert!(selected.contains("hint: ask for one of VMGEN instead"), "{selected}");
    let on = message("# CONFIG_LIBRARY is not set\n", "CONFIG_LIBRARY=y\nCONFIG_VMGEN=y\nCONFIG_ACPI=y\n");
    assert!(on.contains("VMGEN is on and cannot do without it"), "{on}");
    let default = message("# CONFIG_ACPI is not set\n", "CONFIG_ACPI=y\n");
    assert!(default.contains("its default alone sets it"), "{default}");
}

#[test]
fn a_dependency_without_prompt_leads_to_its_selector() {
    let needs = message("CONFIG_NEEDS_LIBRARY=y\n", "CONFIG_NET=y\n");
    assert!(needs.contains("LIBRARY: is not set and has no prompt; selected by VMGEN (Kconfig:30)"), "{needs}");
    assert!(needs.contains("hint: add CONFIG_VMGEN=y\n"), "{needs}");
}

#[test]
fn a_choice_names_its_winner() {
    let message = message("CONFIG_GZ=y\n", "# CONFIG_GZ is not set\nCONFIG_ZST=y\n");
    assert!(
        message.contains("Kconfig switched it off\n    only one of its choice can be on, and that is ZST"),
        "{message}"
    );
}

#[test]
fn modules_and_ranges_are_told() {
    let module = message("CONFIG_NET=m\n", "CONFIG_NET=y\n");
    assert!(module.contains("it cannot be a module"), "{module}");
    let range = message("CONFIG_LOG_SHIFT=99\n", "CONFIG_LOG_SHIFT=25\n");
    assert!(range.contains("hint: the value must be in the range 12 25"), "{range}");
}

#[test]
fn a_missing_tree_costs_only_the_reason() {
    let merged = Merged::new(&[fragment("CONFIG_A=y\n")]);
    let tree = Tree::linux(Path::new("/nonexistent"), "arm64");
    let text = check(&merged, "", Some(&tree)).unwrap_err()[0].to_string();
    assert!(
        text.contains("why is not known: the Kconfig files cannot be read: Kconfig: no such file below /nonexistent")
    );
}

#[test]
fn busybox_files_come_from_the_build_directory_first() {
    let (source, build) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs_err::write(source.path().join("Config.in"), "source init/Config.in\nsource lib/Config.in\n").unwrap();
    for (dir, name) in [(&source, "lib"), (&build, "init")] {
        fs_err::create_dir(dir.path().join(name)).unwrap();
        let text = format!(
            "config IN_{name}\n\tbool \"x\"\n\tdepends on !MISSING\n\thelp\n\tconfig HELP\n\n\tmore\nconfig L_{name}\n"
        );
        fs_err::write(dir.path().join(name).join("Config.in"), text).unwrap();
    }
    let symbols = Tree::busybox(source.path(), build.path()).read().unwrap();
    assert_eq!(symbols.names().collect::<Vec<_>>(), ["IN_init", "IN_lib", "L_init", "L_lib"]);
}

#[test]
fn a_difference_becomes_a_fragment() {
    let old = "CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\nCONFIG_G=y\n";
    let new = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y\nCONFIG_D=\"x\"\n# CONFIG_E is not set\n";
    let difference = diff(old, new);
    assert_eq!(difference.fragment(), "# CONFIG_B is not set\nCONFIG_C=y\nCONFIG_D=\"x\"\n");
    assert_eq!(
        difference.to_string(),
        "-CONFIG_G=y\n CONFIG_B y -> n\n CONFIG_C n -> y\n+CONFIG_D=\"x\"\n+# CONFIG_E is not set\n"
    );
    assert!(diff(new, new).is_empty());
}

mod expressions {
    use crate::kconfig::Config;
    use crate::kconfig::expr::{Expr, Tri};

    fn value(text: &str) -> Option<Tri> {
        let config = Config::parse(
            "CONFIG_Y=y\nCONFIG_M=m\n# CONFIG_N is not set\nCONFIG_NUM=64\nCONFIG_HEX=0x10\nCONFIG_S=\"abc\"\n",
        );
        Expr::parse(text).unwrap().value(&config)
    }

    #[test]
    fn three_values_and_precedence() {
        for (text, expected) in [
            ("Y", Tri::Y),
            ("ABSENT", Tri::N),
            ("Y && M", Tri::M),
            ("N || M && Y", Tri::M),
            ("!M", Tri::M),
            ("!(N || ABSENT)", Tri::Y),
            ("Y=y", Tri::Y),
            ("ABSENT = n", Tri::Y),
            ("M != y", Tri::Y),
            ("NUM >= 9", Tri::Y),
            ("HEX = 16", Tri::Y),
            ("NUM < 64", Tri::N),
            ("S = \"abc\" && \"x86\" = \"x86\"", Tri::Y),
            ("NUM", Tri::N),
        ] {
            assert_eq!(value(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn macros_are_unknown_unless_they_cannot_matter() {
        assert_eq!(value("$(cc-option,-a (b)) && Y"), None);
        assert_eq!(value("$(success,x) && N"), Some(Tri::N));
        assert_eq!(value("$(success,x) || Y"), Some(Tri::Y));
    }

    #[test]
    fn what_is_not_an_expression_is_refused() {
        for text in ["", "A &&", "(A", "A B", "A = ", "\"open", "A @ B"] {
            assert_eq!(Expr::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_expression_reads_back() {
        for text in ["A && (B || !C)", "!(A && B)", "A = \"x\" || B < 3"] {
            assert_eq!(Expr::parse(text).unwrap().to_string(), text);
        }
    }
}

#[test]
fn modules_are_listed_with_who_asked_for_them() {
    let fragment = Fragment::parse(Path::new("mine.config"), "# Why.\nCONFIG_MODULES=y\nCONFIG_E1000=m\n").unwrap();
    let made = "CONFIG_MODULES=y\nCONFIG_E1000=m\nCONFIG_LIBRARY=m\n# CONFIG_X is not set\n";
    let found = modules(&Merged::new(&[fragment]), made);
    assert_eq!(
        found,
        ["mine.config:3: CONFIG_E1000=m", "CONFIG_LIBRARY=m, which others ask for or which is a default"]
    );
    assert!(modules(&Merged::default(), "CONFIG_MODULES=y\n").is_empty());
}

#[test]
fn quotes_and_backslashes_of_strings_are_escaped() {
    assert_eq!(quote(r#"dyndbg="file x.c +p" a=\b"#), r#""dyndbg=\"file x.c +p\" a=\\b""#);
}
