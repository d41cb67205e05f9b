//! The fuzz targets: each reader of `tests/readers`, fed by libFuzzer.

#[path = "../../../readers/mod.rs"]
mod readers;

pub use libfuzzer_sys;

/// The reader of a name.
///
/// # Panics
/// There is none of that name.
pub fn reader(name: &str) -> fn(&[u8]) -> Result<(), String> {
    let found = readers::READERS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no reader is called {name}")).1
}

/// A target that gives libFuzzer's bytes to the reader of a name.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        $crate::libfuzzer_sys::fuzz_target!(
            // libFuzzer's own hook ends the process at every panic, also at those that a reader catches.
            init: { let _ = std::panic::take_hook(); },
            |data: &[u8]| {
                // Taken or refused, both are right.
                let _ = $crate::reader($name)(data);
            }
        );
    };
}
