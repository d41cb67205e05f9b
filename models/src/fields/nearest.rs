//! Names that are near a name that is unknown.

/// A list of names, those that share most of their letters with `found` first.
pub(crate) fn nearest_first(found: &str, all: &[&str]) -> String {
    let mut names: Vec<&str> = all.to_vec();
    // The sort is stable: names that are equally far keep their order.
    names.sort_by_key(|name| distance(found, name));
    let near = names.iter().take_while(|name| distance(found, name) * 2 <= found.len().max(name.len())).count();
    match near {
        0 => all.join(", "),
        _ => format!("{} (nearest), {}", names[..near].join(", "), names[near..].join(", ")),
    }
}

/// Up to `n` names that share at least half of their letters with `found`, the nearest first.
pub(crate) fn nearest<'a>(found: &str, all: &[&'a str], n: usize) -> Vec<&'a str> {
    let near = |name: &&&str| distance(found, name) * 2 <= found.len().max(name.len());
    let mut names: Vec<&str> = all.iter().filter(near).copied().collect();
    names.sort_by_key(|name| distance(found, name));
    names.truncate(n);
    names
}

/// The number of letters to insert, drop or replace to make one name of another.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
