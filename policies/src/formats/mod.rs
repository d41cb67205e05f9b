//! Models on disk: Hugging Face folders, GGUF files, llama2.c files, PEFT adapters.
