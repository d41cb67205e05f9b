//! What the hub says of a repository.
use serde_json::Value;

use super::address::encoded;
use super::client::Client;
use crate::HubError;
use crate::name::{is_commit, is_inside};

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path in the repository.
    pub(super) path: String,
    /// Its size in bytes.
    pub(super) size: u64,
    /// Its checksum, which is its name in the cache: SHA-256 of large files, git's of others.
    pub(super) checksum: String,
}

/// The commit of the revision that the name has.
pub(super) fn commit_of(client: &Client<'_>) -> Result<String, HubError> {
    let address = client.question(&format!("revision/{}", encoded(client.name().revision_or_main(), "")));
    let (reply, _) = client.ask(&address)?;
    let commit = reply["sha"].as_str().filter(|commit| is_commit(commit));
    commit.map(str::to_owned).ok_or_else(|| client.strange(&address, "the reply names no commit (`sha`)"))
}

/// All files at a commit.
pub(super) fn files_of(client: &Client<'_>, commit: &str) -> Result<Vec<Entry>, HubError> {
    let mut next = Some(client.question(&format!("tree/{commit}?recursive=true&expand=false")));
    let mut files = Vec::new();
    while let Some(address) = next {
        let (reply, after) = client.ask(&address)?;
        let Some(entries) = reply.as_array() else {
            return Err(client.strange(&address, "the reply is no list of files"));
        };
        for entry in entries.iter().filter(|entry| entry["type"] == "file") {
            let file = read(entry);
            files.push(
                file.ok_or_else(|| {
                    client.strange(&address, &format!("the list has an entry that is no file: {entry}"))
                })?,
            );
        }
        next = after;
    }
    Ok(files)
}

/// An entry of a list; `None` if it has no size or checksum, or a path that leads out of the repository.
fn read(entry: &Value) -> Option<Entry> {
    let path = entry["path"].as_str().filter(|path| is_inside(path))?;
    let (checksum, size) = match entry.get("lfs").filter(|large| !large.is_null()) {
        Some(large) => (large["oid"].as_str()?, large["size"].as_u64()?),
        None => (entry["oid"].as_str()?, entry["size"].as_u64()?),
    };
    let is_checksum = matches!(checksum.len(), 40 | 64) && checksum.chars().all(|c| c.is_ascii_hexdigit());
    is_checksum.then(|| Entry { path: path.to_owned(), size, checksum: checksum.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_that_lead_elsewhere_are_refused() {
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let entry = |path: &str| json!({"type": "file", "path": path, "size": 6, "oid": git});
        assert_eq!(
            read(&entry("a/b.json")),
            Some(Entry { path: "a/b.json".to_owned(), size: 6, checksum: git.to_owned() })
        );
        for path in ["../a", "/a", "a/../../b", "a\\b", "c:a", ""] {
            assert_eq!(read(&entry(path)), None, "{path}");
        }
        assert_eq!(read(&json!({"path": "a", "size": 6, "oid": "../../etc"})), None);
        let large = json!({"path": "a", "size": 130, "oid": git, "lfs": {"oid": "ab".repeat(32), "size": 9}});
        assert_eq!(read(&large).map(|entry| entry.size), Some(9));
    }
}
