#![no_main]

fuzz_targets::target!("parquet");
