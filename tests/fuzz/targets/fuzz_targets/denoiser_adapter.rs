#![no_main]

fuzz_targets::target!("denoiser_adapter");
