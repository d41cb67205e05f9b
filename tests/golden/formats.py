"""Writes tests/golden/formats/: small models as transformers, peft and gguf write them, and the numbers they hold.

    python tests/golden/formats.py

Versions are recorded in expected.json. Every number is drawn from fixed seeds.
"""

import importlib.metadata
import json
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
)

OUT = Path(__file__).parent / "formats"
SMALL = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
EXPECTED = {
    "versions": {
        "python": sys.version.split()[0],
        **{name: importlib.metadata.version(name) for name in ("torch", "transformers", "peft", "gguf")},
    }
}


def describe(tensor):
    """Enough of a tensor to tell it from any other arrangement of its numbers."""
    values = np.asarray(tensor, dtype=np.float64)
    flat = values.reshape(-1)
    position = np.arange(flat.size) % 97 - 48
    return {
        "shape": list(values.shape),
        "first": [float(np.float32(v)) for v in flat[:4]],
        "last": float(np.float32(flat[-1])),
        "absolute_sum": float(np.abs(flat).sum()),
        "weighted_sum": float((flat * position).sum()),
    }


def describe_model(model, tied_head):
    """All tensors of a transformers model, without the head where it is the embedding."""
    tensors = model.state_dict().items()
    return {name: describe(t.float().numpy()) for name, t in tensors if not (tied_head and name == "lm_head.weight")}


def randomise(model, seed):
    """Gives every parameter, norms and biases included, numbers of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def hugging_face():
    llama = LlamaForCausalLM(LlamaConfig(**SMALL, num_key_value_heads=2, tie_word_embeddings=False))
    llama = randomise(llama, 1).to(torch.bfloat16)
    llama.save_pretrained(OUT / "llama-bf16-sharded", max_shard_size="4KB")
    EXPECTED["llama-bf16-sharded"] = describe_model(llama, False)
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=32))
    gpt2 = randomise(gpt2, 2).to(torch.float16)
    gpt2.save_pretrained(OUT / "gpt2-f16")
    EXPECTED["gpt2-f16"] = describe_model(gpt2, True)


def adapters():
    """Adapters with every factor random, their bases, and the weights that peft merges them to."""
    llama = LlamaConfig(**SMALL, num_key_value_heads=2)
    plain = LoraConfig(
        r=3, lora_alpha=12, use_rslora=True, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM",
        rank_pattern={"down_proj": 2}, alpha_pattern={"layers.1.self_attn.q_proj": 5}, modules_to_save=["lm_head"],
    )
    gpt2 = GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    turned = LoraConfig(
        r=2, lora_alpha=4, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True, task_type="CAUSAL_LM"
    )
    for name, config, lora, seed in [("llama", llama, plain, 3), ("gpt2", gpt2, turned, 4)]:
        base = randomise(AutoModelForCausalLM.from_config(config), seed)
        base.save_pretrained(OUT / f"{name}-base")
        model = get_peft_model(base, lora)
        generator = torch.Generator().manual_seed(seed + 10)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        folder = OUT / f"{name}-adapter"
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        merged = model.merge_and_unload()
        EXPECTED[f"{name}-adapter"] = describe_model(merged, config.tie_word_embeddings)


def tied_adapters():
    """Adapters of both ends of a tied model, which are two matrices after that."""
    llama = LlamaConfig(**SMALL | {"num_hidden_layers": 1}, num_key_value_heads=2, tie_word_embeddings=True)
    ends = LoraConfig(
        r=2, lora_alpha=6, target_modules=["embed_tokens", "lm_head", "q_proj"], task_type="CAUSAL_LM",
        alpha_pattern={"^model.embed_tokens": 3, "^embed_tokens": 50, "lm_head": 1},
    )
    gpt2 = GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    whole = LoraConfig(
        r=2, lora_alpha=4, target_modules=["c_attn"], modules_to_save=["wte"], fan_in_fan_out=True,
        task_type="CAUSAL_LM",
    )
    for name, config, lora, seed in [("tied-llama", llama, ends, 5), ("tied-gpt2", gpt2, whole, 6)]:
        base = randomise(AutoModelForCausalLM.from_config(config), seed)
        base.save_pretrained(OUT / f"{name}-base")
        model = get_peft_model(base, lora)
        generator = torch.Generator().manual_seed(seed + 10)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        folder = OUT / f"{name}-adapter"
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        base = AutoModelForCausalLM.from_pretrained(OUT / f"{name}-base")
        EXPECTED[f"{name}-adapter"] = in_force(PeftModel.from_pretrained(base, folder))


def in_force(model):
    """The weights with which an adapted model computes. `merge_and_unload` of a tied base adds the changes of both ends to
    the one matrix that they share, which the adapted model doesn't."""
    weights = {}
    for name, value in model.base_model.model.state_dict().items():
        if ".lora_" not in name and ".original_module." not in name:
            weights[name.replace(".base_layer", "").replace(".modules_to_save.default", "")] = value.detach().float()
    for name, module in model.base_model.model.named_modules():
        if hasattr(module, "get_delta_weight") and module.active_adapters:
            weights[f"{name}.weight"] = weights[f"{name}.weight"] + module.get_delta_weight("default").detach()
    return {name: describe(value.numpy()) for name, value in weights.items()}


K = gguf.GGMLQuantizationType


def blocks(kind, rows, width, generator):
    """Random blocks of a kind, and what they stand for. Scales are small finite numbers, all else is any bits."""
    if kind in (K.F32, K.F16, K.BF16, K.Q8_0, K.Q4_0, K.Q4_1, K.Q5_0, K.Q5_1):
        values = generator.standard_normal((rows, width), dtype=np.float32) * np.float32(0.2)
        stored = gguf.quantize(values, kind)
        return stored, gguf.dequantize(stored, kind)
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    raw = generator.integers(0, 256, (rows * width // elements, size), dtype=np.uint8)
    # Where each kind keeps its 16-bit scales.
    scales = {K.Q2_K: [80, 82], K.Q3_K: [108], K.Q4_K: [0, 2], K.Q5_K: [0, 2], K.Q6_K: [208]}[kind]
    for at in scales:
        scale = (generator.random(len(raw)) * 0.01 + 0.001).astype("<f2")
        raw[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
    stored = raw.reshape(rows, -1)
    return stored, gguf.dequantize(stored, kind)


def byte_level_pieces(extra):
    """GPT-2's 256 characters for bytes, then `extra`."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    spelling = {b: chr(b) for b in printable} | {b: chr(256 + n) for n, b in enumerate(others)}
    return [spelling[b] for b in range(256)] + extra


def add_tokenizer(writer, pre):
    extra = ["\u0120t", "he", "\u0120the", "12", "<|end|>", "<|start|>"]
    pieces = byte_level_pieces(extra)
    normal, control = int(gguf.TokenType.NORMAL), int(gguf.TokenType.CONTROL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(pieces)
    writer.add_token_types([control if p.startswith("<|") else normal for p in pieces])
    writer.add_token_merges(["\u0120 t", "h e", "\u0120t he", "1 2"])
    writer.add_eos_token_id(len(pieces) - 2)
    writer.add_bos_token_id(len(pieces) - 1)
    writer.add_chat_template("{{ messages }}")
    return len(pieces)


def interleave(rows, heads):
    """Hugging Face's order of a projection's rows to llama.cpp's."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def halve(rows, heads):
    """llama.cpp's order of a projection's rows to Hugging Face's."""
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def quantised():
    """A Llama whose every matrix is stored in another way."""
    generator = np.random.default_rng(5)
    path = OUT / "llama-mixed.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    vocabulary = add_tokenizer(writer, "smollm")
    width, inner, heads, shared, size = 256, 64, 2, 1, 32
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(shared)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(5e5)
    writer.add_layer_norm_rms_eps(1e-6)
    expected = {}

    def add(name, canonical, kind, rows, columns, turned=None):
        stored, values = blocks(kind, rows, columns, generator)
        if columns == 1:
            stored, values = stored.reshape(-1), values.reshape(-1)
        writer.add_tensor(name, stored, raw_dtype=kind)
        expected[canonical] = describe(halve(values, turned) if turned else values)

    add("token_embd.weight", "model.embed_tokens.weight", K.Q4_0, vocabulary, width)
    add("output.weight", "lm_head.weight", K.Q2_K, vocabulary, width)
    add("output_norm.weight", "model.norm.weight", K.F32, width, 1)
    kinds = [
        [K.Q4_K, K.Q5_K, K.Q6_K, K.Q5_1, K.Q2_K, K.Q3_K, K.Q4_1],
        [K.F16, K.BF16, K.Q8_0, K.Q5_0, K.Q3_K, K.Q2_K, K.Q8_0],
    ]
    for layer, (q, k, v, o, gate, up, down) in enumerate(kinds):
        ours, theirs = f"model.layers.{layer}", f"blk.{layer}"
        add(f"{theirs}.attn_norm.weight", f"{ours}.input_layernorm.weight", K.F32, width, 1)
        add(f"{theirs}.ffn_norm.weight", f"{ours}.post_attention_layernorm.weight", K.F32, width, 1)
        add(f"{theirs}.attn_q.weight", f"{ours}.self_attn.q_proj.weight", q, heads * size, width, heads)
        add(f"{theirs}.attn_k.weight", f"{ours}.self_attn.k_proj.weight", k, shared * size, width, shared)
        add(f"{theirs}.attn_v.weight", f"{ours}.self_attn.v_proj.weight", v, shared * size, width)
        add(f"{theirs}.attn_output.weight", f"{ours}.self_attn.o_proj.weight", o, width, heads * size)
        add(f"{theirs}.ffn_gate.weight", f"{ours}.mlp.gate_proj.weight", gate, inner, width)
        add(f"{theirs}.ffn_up.weight", f"{ours}.mlp.up_proj.weight", up, inner, width)
        add(f"{theirs}.ffn_down.weight", f"{ours}.mlp.down_proj.weight", down, width, inner)
    finish(writer)
    EXPECTED["llama-mixed.gguf"] = expected


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def converted():
    """Transformers models brought into GGUF by llama.cpp's rules, all f32."""
    neox = GPTNeoXConfig(**SMALL, max_position_embeddings=32, use_parallel_residual=False)
    gpt2 = GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    qwen2 = Qwen2Config(**SMALL, num_key_value_heads=2, max_position_embeddings=32, tie_word_embeddings=True)
    for name, config, seed in [("gptneox", neox, 6), ("gpt2", gpt2, 7), ("qwen2", qwen2, 8)]:
        model = randomise(AutoModelForCausalLM.from_config(config), seed)
        writer = gguf.GGUFWriter(OUT / f"{name}.gguf", name)
        writer.add_context_length(32)
        writer.add_embedding_length(16)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_head_count(config.num_attention_heads)
        writer.add_feed_forward_length(64 if name == "gpt2" else 24)
        if name == "qwen2":
            writer.add_head_count_kv(2)
            writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        else:
            writer.add_layer_norm_eps(1e-5)
        if name == "gptneox":
            writer.add_rope_dimension_count(1 * 2)
            writer.add_parallel_residual(False)
        arch = {"gptneox": gguf.MODEL_ARCH.GPTNEOX, "gpt2": gguf.MODEL_ARCH.GPT2, "qwen2": gguf.MODEL_ARCH.QWEN2}[name]
        names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
        for full, tensor in model.state_dict().items():
            if full == "lm_head.weight" and config.tie_word_embeddings and name != "gpt2":
                continue
            values = tensor.numpy()
            if name == "gpt2" and full.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
                values = values.T
            if name == "gptneox" and ".query_key_value." in full:
                heads = config.num_attention_heads
                values = values.reshape(heads, 3, 16 // heads, -1).swapaxes(0, 1).reshape(values.shape)
            stored = names.get_name(full, try_suffixes=(".weight", ".bias"))
            writer.add_tensor(stored, np.ascontiguousarray(values))
        finish(writer)
        expected = describe_model(model, config.tie_word_embeddings)
        if name == "gptneox":
            # transformers 5 calls it so in memory; files have the name it has always had.
            expected["embed_out.weight"] = expected.pop("lm_head.weight")
        EXPECTED[f"{name}.gguf"] = expected


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    hugging_face()
    adapters()
    tied_adapters()
    quantised()
    converted()
    (OUT / "expected.json").write_text(json.dumps(EXPECTED, indent=1) + "\n")
