/// The subject of an inspection.
pub(crate) enum Subject {
    Model,
    Denoiser,
    /// Text data, with the model whose tokenizer reads it.
    Texts(String, String),
    /// Picture data, with the model that sets its size, if named.
    Pictures(String, Option<String>),
    Run,
    Pairs,
    Tensors,
}
