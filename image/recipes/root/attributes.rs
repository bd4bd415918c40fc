//! The profile's table of attributes.

use build_support::{Context as _, Result};
use disk::{Rule, Tree};
use system::profile::Attribute;

/// Applies it. Names of users and groups are those of the tree's own tables.
pub fn apply(tree: &mut Tree, attributes: &[Attribute]) -> Result<()> {
    for attribute in attributes {
        let rule = rule(tree, attribute).with_context(|| attribute.place.to_string())?;
        tree.apply(&[rule]).with_context(|| attribute.place.to_string())?;
    }
    Ok(())
}

fn rule(tree: &Tree, attribute: &Attribute) -> Result<Rule> {
    let number = |table, name: &Option<String>| name.as_ref().map(|name| tree.account(table, name)).transpose();
    Ok(Rule {
        path: attribute.path.clone(),
        mode: attribute.mode,
        uid: number("etc/passwd", &attribute.owner)?,
        gid: number("etc/group", &attribute.group)?,
        capabilities: attribute.capabilities,
    })
}
