//! Adapters of language models and of denoisers.

use candle_core::Device;
use models::formats::{
    adapter_base, add_adapter, is_denoiser_lora, load, load_adapter, load_denoiser, load_denoiser_lora,
    merge_denoiser_lora,
};

use super::{language, scene, told};

/// A folder of PEFT for a small language model.
pub(crate) fn of_language_model(input: &[u8]) -> Result<(), String> {
    let base: [(&str, &[u8]); 2] = [
        ("adapter_config.json", include_bytes!("../golden/formats/llama-adapter/adapter_config.json")),
        ("adapter_model.safetensors", include_bytes!("../golden/formats/llama-adapter/adapter_model.safetensors")),
    ];
    let model = scene::folder(&[], &language::BASE, &[]);
    let files = load(model.path(), &Device::Cpu).map_err(told)?;
    let names = ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    let folder = scene::folder(input, &base, &names);
    let _ = adapter_base(folder.path());
    let adapter = load_adapter(folder.path(), &files.config, &Device::Cpu).map_err(told)?;
    let _ = adapter.trained(&files.config);
    let adapted = add_adapter(files, model.path(), folder.path(), &Device::Cpu).map_err(told)?;
    adapted.frozen().map(drop).map_err(told)
}

/// A file of adapters, or PEFT's folder, for a small denoiser.
pub(crate) fn of_denoiser(input: &[u8]) -> Result<(), String> {
    let base: [(&str, &[u8]); 2] = [
        ("config.json", include_bytes!("../golden/unet/sd1/config.json")),
        (
            "diffusion_pytorch_model.safetensors",
            include_bytes!("../golden/unet/sd1/diffusion_pytorch_model.safetensors"),
        ),
    ];
    let model = scene::folder(&[], &base, &[]);
    let mut files = load_denoiser(model.path(), &Device::Cpu).map_err(told)?;
    let names = ["pytorch_lora_weights.safetensors", "adapter_config.json", "adapter_model.safetensors"];
    let folder = scene::folder(input, &[], &names);
    let _ = is_denoiser_lora(folder.path());
    let lora = load_denoiser_lora(folder.path(), &files.config, &Device::Cpu).map_err(told)?;
    let _ = lora.trained(&files.config);
    merge_denoiser_lora(&lora, &mut files.tensors).map_err(told)
}
