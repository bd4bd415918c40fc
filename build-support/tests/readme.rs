//! README.md's table of variables is the table in the code.

mod common;

use build_support::{fs, vars};

#[test]
fn the_table_of_variables_is_that_of_the_code() {
    let rows: String =
        vars::TABLE.iter().map(|var| format!("| `{}` | {} | {} |\n", var.name, var.default, var.meaning)).collect();
    let path = common::project().join("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (_, rest) = text.split_once("<!-- variables -->\n").expect("README.md has no line <!-- variables -->");
    let (table, _) = rest.split_once("<!-- /variables -->").expect("README.md has no line <!-- /variables -->");
    let names = |line: &&str| line.starts_with("| `");
    let found: String = table.lines().filter(names).map(|line| format!("{line}\n")).collect();
    assert_eq!(found, rows, "between the marks, {} must have these rows:\n{rows}", path.display());
}
