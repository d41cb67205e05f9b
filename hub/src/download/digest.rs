//! Checksums of files.
use std::fmt::Write as _;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// The checksum by which the hub lists a file: SHA-256 of large files, git's SHA-1 of small ones.
pub(super) struct Digest(Context);

impl Digest {
    /// Begins the checksum of a file of `size` bytes whose listed one has the form of `expected`.
    pub(super) fn like(expected: &str, size: u64) -> Self {
        if expected.len() == 64 {
            return Self(Context::new(&SHA256));
        }
        let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        context.update(format!("blob {size}\0").as_bytes());
        Self(context)
    }

    /// The name of the checksum of the form of `expected`.
    pub(super) fn name(expected: &str) -> &'static str {
        if expected.len() == 64 { "SHA-256" } else { "git checksum" }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum in hexadecimal digits.
    pub(super) fn finish(self) -> String {
        self.0.finish().as_ref().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_git_and_of_sha256sum() {
        let of = |expected: &str| {
            let mut digest = Digest::like(expected, 6);
            digest.update(b"hello\n");
            digest.finish()
        };
        // `git hash-object` and `sha256sum` of a file of "hello" and a line's end.
        let (git, sha256) = (
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        );
        assert_eq!((of(git), of(sha256)), (git.to_owned(), sha256.to_owned()));
    }
}
