//! The licence of a base model.
use std::path::Path;

use hub::Name;

use super::{FENCE, NAME};

/// The licence in the front matter of the base model's own card.
pub(super) fn licence_of(base: &str) -> Option<String> {
    let base = if Path::new(base).exists() { base } else { base.split('+').next().unwrap_or(base) };
    let base = Path::new(base);
    // The card lies in the model's folder, beside its file, or at the top of what the hub has.
    let depth = Name::of_path(base).and_then(|name| Some(name.inside?.split('/').count()));
    let top = depth.and_then(|depth| base.ancestors().nth(depth));
    let folders = [Some(base), base.parent().filter(|_| base.is_file()), top];
    folders.into_iter().flatten().find_map(|folder| licence_in(&folder.join(NAME)))
}

/// The licence in the front matter of a card.
fn licence_in(card: &Path) -> Option<String> {
    let text = std::fs::read_to_string(card).ok()?;
    let matter = text.strip_prefix(FENCE)?.split(FENCE).next()?;
    let licence = matter.lines().find_map(|line| line.strip_prefix("license:"))?;
    let licence = licence.trim().trim_matches(['"', '\'']);
    let is_known = !matches!(licence, "" | "unknown") && licence.len() < 80;
    is_known.then(|| licence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_licence_is_found_beside_a_file_and_at_the_top_of_a_repository() {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = folder.path().join("models--org--base/snapshots/0123456789abcdef0123456789abcdef01234567");
        std::fs::create_dir_all(snapshot.join("deep/er")).unwrap();
        std::fs::write(snapshot.join(NAME), "---\nlicense: mit\n---\n").unwrap();
        for file in ["a.gguf", "deep/er/b.gguf"] {
            std::fs::write(snapshot.join(file), "GGUF").unwrap();
        }
        for text in ["", "a.gguf", "deep/er", "deep/er/b.gguf"] {
            let base = snapshot.join(text).display().to_string();
            assert_eq!(licence_of(&base).as_deref(), Some("mit"), "{text}");
            assert_eq!(licence_of(&format!("{base}+./adapter")).as_deref(), Some("mit"), "{text}");
        }
        assert_eq!(licence_of(&folder.path().display().to_string()), None);
    }
}
