//! The order of services: who waits for whom, and who waits for ever. Pure; the state machine calls [`resolve`].

/// What a service says about others.
pub struct Wishes<'a> {
    /// Its name.
    pub name: &'a str,
    /// See [`super::config::Config::after`].
    pub after: &'a [String],
    /// See [`super::config::Config::needs`].
    pub needs: &'a [String],
}

/// A service's place among the others, by their indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// It runs only while these do.
    pub needs: Vec<usize>,
    /// It starts after these, and stops before them; those it needs are among them.
    pub after: Vec<usize>,
    /// Why it cannot start at all.
    pub refused: Option<String>,
    /// Names in `after` that are no service.
    pub unknown: Vec<String>,
}

/// Finds every service's place. One that needs a service that is not there, or waits for itself in the end, is refused.
pub fn resolve(services: &[Wishes<'_>]) -> Vec<Links> {
    let find = |name: &String| services.iter().position(|service| service.name == name);
    let mut links: Vec<Links> = services
        .iter()
        .map(|service| {
            let mut links = Links::default();
            for name in service.needs {
                match find(name) {
                    Some(index) => {
                        links.needs.push(index);
                        links.after.push(index);
                    }
                    None => links.refused = Some(format!("it needs '{name}', and there is no such service")),
                }
            }
            for name in service.after {
                match find(name) {
                    Some(index) => links.after.push(index),
                    None => links.unknown.push(name.clone()),
                }
            }
            links
        })
        .collect();
    for cycle in cycles(&links) {
        let names: Vec<_> =
            cycle.iter().chain(cycle.first()).filter_map(|&i| services.get(i)).map(|s| s.name).collect();
        let text = format!("it is part of a cycle: {}", names.join(" -> "));
        for index in cycle {
            if let Some(links) = links.get_mut(index) {
                links.refused = Some(text.clone());
                // Nobody asks for the order within it, and following it would never end.
                links.needs.clear();
                links.after.clear();
            }
        }
    }
    links
}

/// Where the search is with a service.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    /// On the path from the start of the search.
    Open,
    Closed,
}

/// The cycles among the services, each as a path whose end leads to its start. Without them no cycle is left.
fn cycles(links: &[Links]) -> Vec<Vec<usize>> {
    let mut marks = vec![Mark::New; links.len()];
    let mut found = Vec::new();
    for start in 0..links.len() {
        // A path of services, and for each how many of those before it were looked at; no recursion, so that a long chain
        // takes no stack.
        let mut path = vec![(start, 0)];
        if marks.get(start) != Some(&Mark::New) {
            continue;
        }
        set(&mut marks, start, Mark::Open);
        while let Some((service, next)) = path.last_mut() {
            let service = *service;
            let Some(&before) = links.get(service).and_then(|links| links.after.get(*next)) else {
                set(&mut marks, service, Mark::Closed);
                path.pop();
                continue;
            };
            *next += 1;
            match marks.get(before) {
                Some(Mark::New) => {
                    set(&mut marks, before, Mark::Open);
                    path.push((before, 0));
                }
                Some(Mark::Open) => {
                    let cycle = path.iter().map(|(service, _)| *service).skip_while(|&service| service != before);
                    found.push(cycle.collect());
                }
                _ => {}
            }
        }
    }
    found
}

fn set(marks: &mut [Mark], index: usize, mark: Mark) {
    if let Some(place) = marks.get_mut(index) {
        *place = mark;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Services as `name: needs | after`.
    fn resolved(lines: &[&str]) -> Vec<Links> {
        let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
        let parsed: Vec<(String, Vec<String>, Vec<String>)> = lines
            .iter()
            .map(|line| {
                let (name, rest) = line.split_once(':').unwrap();
                let (needs, after) = rest.split_once('|').unwrap_or((rest, ""));
                (name.to_owned(), words(needs), words(after))
            })
            .collect();
        let wishes: Vec<_> = parsed.iter().map(|(name, needs, after)| Wishes { name, after, needs }).collect();
        resolve(&wishes)
    }

    #[test]
    fn needs_come_before_too() {
        let links = resolved(&["a:", "b: a", "c: | b x"]);
        assert_eq!((&links[1].needs, &links[1].after), (&vec![0], &vec![0]));
        assert_eq!((&links[2].needs, &links[2].after), (&vec![], &vec![1]));
        assert_eq!(links[2].unknown, ["x"]);
        assert!(links.iter().all(|links| links.refused.is_none()));
    }

    #[test]
    fn an_unknown_need_refuses() {
        let links = resolved(&["a: x"]);
        assert_eq!(links[0].refused.as_deref(), Some("it needs 'x', and there is no such service"));
    }

    #[test]
    fn a_cycle_is_named_and_the_rest_goes_on() {
        let links = resolved(&["a: b", "b: | c", "c: a", "d: a", "e:"]);
        for links in &links[..3] {
            assert_eq!(links.refused.as_deref(), Some("it is part of a cycle: a -> b -> c -> a"));
        }
        assert_eq!((&links[3].refused, &links[3].needs), (&None, &vec![0]));
        assert_eq!(links[4].refused, None);
        assert_eq!(resolved(&["a: a"])[0].refused.as_deref(), Some("it is part of a cycle: a -> a"));
    }

    #[test]
    fn nothing_is_left_of_crossing_cycles() {
        let links = resolved(&["a: b c", "b: a", "c: d", "d: a", "e: b", "f: e"]);
        assert!(cycles(&links).is_empty());
        assert!(links[..4].iter().all(|links| links.refused.is_some()));
        assert_eq!(links[4].refused, None);
    }

    #[test]
    fn a_long_chain_is_no_problem() {
        let lines: Vec<String> = (0..1000)
            .map(|i| format!("s{i}: {}", if i == 0 { String::new() } else { format!("s{}", i - 1) }))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert!(resolved(&lines).iter().all(|links| links.refused.is_none()));
    }
}
