//! The `hybrid-dpo` command.
fn main() {}
