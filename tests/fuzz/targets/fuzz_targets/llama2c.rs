#![no_main]

fuzz_targets::target!("llama2c");
