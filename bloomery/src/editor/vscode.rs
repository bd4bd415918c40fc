//! The files of VS Code. Names and forms of the properties are those of its schemas: src/vs/workbench/contrib/tasks/common/jsonSchema_v2.ts
//! and contrib/debug/common/debugSchemas.ts in microsoft/vscode, and `contributes.debuggers` in Extension/package.json of
//! microsoft/vscode-cpptools for the type `cppdbg`.

use std::path::Path;

use build_support::Arch;
use serde_json::{Value, json};
use system::machine::GDB_PORT;

use super::label;

/// What is started and debugged.
pub struct Target<'a> {
    /// As a person calls the profile.
    pub name: &'a str,
    /// The same with debug information, as the build takes it.
    pub profile: &'a str,
    /// Its architecture.
    pub arch: Arch,
    /// The checkout.
    pub root: &'a Path,
    /// The directory with `vmlinux` and GDB's scripts.
    pub debug: &'a Path,
    /// GDB.
    pub gdb: &'a Path,
}

impl Target<'_> {
    fn label(&self, what: &str) -> String {
        label(self.name, self.arch, what)
    }

    /// A task that runs `cargo bloomery`.
    fn task(&self, what: &str, args: &[&str]) -> Value {
        let args: Vec<&str> = ["bloomery"].iter().chain(args).copied().collect();
        json!({
            "label": self.label(what),
            "type": "shell",
            "command": "cargo",
            "args": args,
            "options": { "cwd": self.root.display().to_string() },
            "problemMatcher": [],
        })
    }
}

/// `tasks.json`: to build, to boot, and to start a machine that waits for the debugger.
pub fn tasks(target: &Target) -> Value {
    let arch = target.arch.name();
    let mut build = target.task("build", &["build", target.profile, "--arch", arch]);
    build["group"] = json!({ "kind": "build", "isDefault": true });
    let boot = ["run", arch, "--profile", target.profile, "--snapshot"];
    let run = target.task("boot", &boot);
    // Addresses in vmlinux are those of the machine.
    let waiting = [&boot[..], &["--gdb", "--append", "nokaslr"]].concat();
    let mut wait = target.task("wait for the debugger", &waiting);
    wait["isBackground"] = json!(true);
    wait["dependsOn"] = json!(target.label("build"));
    // The debugger comes when this task has printed its last line. No line of it is a problem.
    wait["problemMatcher"] = json!({
        "owner": "bloomery",
        "pattern": { "regexp": "^bloomery: problem in (.*):(\\d+): (.*)$", "file": 1, "line": 2, "message": 3 },
        "background": {
            "activeOnStart": true,
            "beginsPattern": "^bloomery: booting ",
            "endsPattern": "^bloomery: Ctrl-A X ends QEMU",
        },
    });
    json!({ "version": "2.0.0", "tasks": [build, run, wait] })
}

/// `launch.json`: GDB on the machine that the last task starts, stopped at the kernel's first C function.
pub fn launch(target: &Target) -> Value {
    let debug = target.debug.display();
    json!({
        "version": "0.2.0",
        "configurations": [{
            "name": target.label("kernel"),
            "type": "cppdbg",
            "request": "launch",
            "program": target.debug.join("vmlinux").display().to_string(),
            "cwd": "${workspaceFolder}",
            "MIMode": "gdb",
            "miDebuggerPath": target.gdb.display().to_string(),
            "miDebuggerServerAddress": format!("127.0.0.1:{GDB_PORT}"),
            "stopAtConnect": true,
            "externalConsole": false,
            "preLaunchTask": target.label("wait for the debugger"),
            // Before GDB reads vmlinux: it does not run vmlinux-gdb.py otherwise, which lies beside it and has the commands lx-*.
            "setupCommands": [{
                "description": "trust the kernel's scripts",
                "text": format!("-gdb-set auto-load safe-path {debug}"),
            }],
            // Nothing is in memory yet that a breakpoint's instruction could be written into.
            "postRemoteConnectCommands": [{
                "description": "stop at the first C function",
                "text": "-break-insert -h start_kernel",
            }],
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target<'static> {
        Target {
            name: "lab",
            profile: "/a/lab-debug.toml",
            arch: Arch::X86_64,
            root: Path::new("/a"),
            debug: Path::new("/a/debug"),
            gdb: Path::new("/usr/bin/gdb"),
        }
    }

    /// Checks an object against a schema: `NAME: TYPE`, with `!` behind the name of a property that must be there. Any other
    /// property is an error.
    fn check(value: &Value, schema: &[(&str, &str)]) {
        let object = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
        for (name, value) in object {
            let row = schema.iter().find(|(known, _)| known.trim_end_matches('!') == name);
            let (_, kind) = row.unwrap_or_else(|| panic!("the schema has no `{name}`"));
            let fits = match *kind {
                "text" => value.is_string(),
                "flag" => value.is_boolean(),
                "number" => value.is_u64(),
                "texts" => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
                "object" => value.is_object(),
                "objects" => value.as_array().is_some_and(|items| items.iter().all(Value::is_object)),
                "matchers" => value.is_object() || value.as_array().is_some_and(Vec::is_empty),
                one_of => one_of.split('|').any(|word| value == word),
            };
            assert!(fits, "`{name}` is no {kind}: {value}");
        }
        for name in schema.iter().filter_map(|(name, _)| name.strip_suffix('!')) {
            assert!(object.contains_key(name), "`{name}` is missing: {value}");
        }
    }

    #[test]
    fn tasks_are_as_the_schema_wants_them() {
        let tasks = tasks(&target());
        check(&tasks, &[("version!", "2.0.0"), ("tasks!", "objects")]);
        for task in tasks["tasks"].as_array().unwrap() {
            check(
                task,
                &[
                    ("label!", "text"),
                    ("type!", "shell|process"),
                    ("command!", "text"),
                    ("args", "texts"),
                    ("options", "object"),
                    ("group", "object"),
                    ("isBackground", "flag"),
                    ("dependsOn", "text"),
                    ("problemMatcher", "matchers"),
                ],
            );
            check(&task["options"], &[("cwd", "text")]);
        }
        let [build, _, wait] = &tasks["tasks"].as_array().unwrap()[..] else { panic!("three tasks") };
        check(&build["group"], &[("kind!", "build|test|none"), ("isDefault", "flag")]);
        assert_eq!(wait["dependsOn"], build["label"]);
        let matcher = &wait["problemMatcher"];
        check(matcher, &[("owner", "text"), ("pattern!", "object"), ("background!", "object")]);
        let pattern = [("regexp!", "text"), ("file", "number"), ("line", "number"), ("message", "number")];
        check(&matcher["pattern"], &pattern);
        let background = [("activeOnStart", "flag"), ("beginsPattern!", "text"), ("endsPattern!", "text")];
        check(&matcher["background"], &background);
    }

    #[test]
    fn a_launch_is_as_the_schema_wants_it() {
        let (launch, tasks) = (launch(&target()), tasks(&target()));
        check(&launch, &[("version!", "0.2.0"), ("configurations!", "objects")]);
        let configuration = &launch["configurations"][0];
        check(
            configuration,
            &[
                ("name!", "text"),
                ("type!", "cppdbg"),
                ("request!", "launch|attach"),
                ("program!", "text"),
                ("cwd", "text"),
                ("MIMode", "text"),
                ("miDebuggerPath", "text"),
                ("miDebuggerServerAddress", "text"),
                ("stopAtConnect", "flag"),
                ("externalConsole", "flag"),
                ("preLaunchTask", "text"),
                ("setupCommands", "objects"),
                ("postRemoteConnectCommands", "objects"),
            ],
        );
        for commands in ["setupCommands", "postRemoteConnectCommands"] {
            for command in configuration[commands].as_array().unwrap() {
                check(command, &[("text!", "text"), ("description", "text"), ("ignoreFailures", "flag")]);
            }
        }
        let labels: Vec<_> = tasks["tasks"].as_array().unwrap().iter().map(|task| &task["label"]).collect();
        assert!(labels.contains(&&configuration["preLaunchTask"]));
    }
}
