use super::choices::{BasePrecision, PredictionName, SaveDtype};
use super::section;

section! {
    /// The trained or sampled model.
    model: Model {
        /// A Hugging Face folder, .gguf, llama2.c .bin, run folder, base+adapter, or builtin:NAME
        model: Option<String> = None, "model";
        /// The reference policy; train: by default the starting model; sample `label.pairs`: the model of side b
        reference: Option<String> = None, "reference";
        /// Trains low-rank adapters of this rank and freezes the rest
        lora_rank: Option<usize> = None, "lora-rank";
        /// The LoRA scale is alpha / rank
        lora_alpha: f64 = 16.0, "lora-alpha";
        /// Names of the layers that get adapters; else all-linear, of a UNet to_k,to_q,to_v,to_out.0
        lora_targets: Vec<String> = Vec::new(), "lora-targets";
        /// The LoRA scale is alpha / sqrt(rank) instead
        rslora: bool = false, "rslora";
        /// DoRA: every output of an adapted layer has a trained magnitude
        dora: bool = false, "dora";
        /// Adapters have a trained bias too; merging adds it to the layer's, which must have one
        lora_bias: bool = false, "lora-bias";
        /// How quantised weights of a GGUF file are held: quantised keeps the file's blocks, for what does not learn itself; f32
        /// dequantises all; auto: quantised where there are such weights, on the CPU
        base_precision: BasePrecision = BasePrecision::Auto, "base-precision";
        /// Recomputes activations in the backward pass to save memory
        activation_checkpointing: bool = false, "activation-checkpointing";
        /// The prediction type of the network; auto: that of the model's scheduler
        prediction: PredictionName = PredictionName::Auto, "prediction";
        /// A scheduler_config.json in place of the model's own
        scheduler: Option<String> = None, "scheduler";
        /// The type of written weights; auto: that of the model's file, f32 for adapters, for denoisers that learn and for
        /// what was quantised
        save_dtype: SaveDtype = SaveDtype::Auto, "save-dtype";
        /// Averages the weights with this decay and exports the average
        ema: Option<f64> = None, "ema";
        /// The reference follows the policy: an average of its weights with this decay (Linear-DPO's 0.99); evaluations compare
        /// with the start
        reference_ema: Option<f64> = None, "reference-ema";
    }
}
