use super::choices::{Broken, FlipSides, FormatName, ResizeFilter, ResizeRounding, TokenizationName, TransparencyName};
use super::data_choices::{TreePairsName, TruncationName};
use super::section;
use super::sources::Sources;

section! {
    /// The data set.
    data: Data {
        /// A .jsonl, .json, .csv (each also .gz, .zst) or .parquet file, a folder of them or of save_to_disk, or builtin:NAME;
        /// of language models also several, each with its share of an epoch as FILE:WEIGHT
        data: Sources = Sources::default(), "data";
        /// Held-out examples; without it a share of the prompts is held out
        eval_data: Option<String> = None, "eval-data";
        /// The share of prompts held out when there is no eval-data; 0: none
        eval_share: f64 = 0.05, "eval-share";
        /// How the records are laid out
        format: FormatName = FormatName::Auto, "format";
        /// Columns of the file to read under another name: question=prompt,answer=chosen
        map: Vec<String> = Vec::new(), "map";
        /// Reads only this many records, of several sources of each; of eval-data all
        limit: Option<usize> = None, "limit";
        /// The part to read where files or records name parts: train, validation, test, any name, all, or held-out
        /// (validation or else test); auto: train, of eval-data and for eval held-out
        split: String = "auto".to_owned(), "split";
        /// Records to show as the model reads them, token by token
        show: usize = 0, "show";
        /// Tokens of prompt and answer together
        max_length: usize = 512, "max-length";
        /// Tokens of the prompt where it has to be cut; 0: never cut, what leaves no room for an answer is left out (as
        /// TRL)
        max_prompt_length: usize = 256, "max-prompt-length";
        /// The part of a long prompt to keep; auto: keep-end for chats and hh, else keep-both (the middle is cut)
        truncation: TruncationName = TruncationName::Auto, "truncation";
        /// Prompt and answer apart, or together and then cut (as TRL)
        tokenization: TokenizationName = TokenizationName::Separate, "tokenization";
        /// A Jinja file in place of the model's own chat template
        chat_template: Option<String> = None, "chat-template";
        /// Arguments of the chat template, such as enable_thinking=false; in a config file the table template. A record's
        /// chat_template_kwargs win
        template: Vec<String> = Vec::new(), "template";
        /// Of a conversation with one answer (messages) every turn of the assistant is scored, not only the last (TRL's
        /// assistant_only_loss)
        assistant_only: bool = false, "assistant-only";
        /// What is compared in conversation trees: all sibling replies as one list, as pairs, or a whole conversation as one
        /// item in which what its answers share is computed once
        tree_pairs: TreePairsName = TreePairsName::List, "tree-pairs";
        /// What to do with a broken record; skipped ones are counted
        on_bad: Broken = Broken::Fail, "on-bad";
        /// A .safetensors file of latents and contexts that stands in for `data.data`
        latents: Option<String> = None, "latents";
        /// Images are resized and cropped to this; else the model's
        image_size: Option<usize> = None, "image-size";
        /// Mirrors every second image
        flip: bool = false, "flip";
        /// flip: both sides of a pair alike, or each by itself
        flip_sides: FlipSides = FlipSides::Together, "flip-sides";
        /// Transparent pixels are put on white, or their alpha is dropped
        transparency: TransparencyName = TransparencyName::White, "transparency";
        /// Turns images as their EXIF data say
        exif: bool = true, "exif";
        /// How pixels are weighed when an image is scaled, as Pillow does it
        resize_filter: ResizeFilter = ResizeFilter::Lanczos, "resize-filter";
        /// How the longer side and the place of the middle square are rounded
        resize_rounding: ResizeRounding = ResizeRounding::Nearest, "resize-rounding";
        /// What to do with an unreadable image; skipped ones are counted
        on_bad_image: Broken = Broken::Fail, "on-bad-image";
        /// A file that encoded images and texts are read from where it exists and fits, else written to
        latent_cache: Option<String> = None, "latent-cache";
        /// Trains on all pairs of a pair folder, judged or not, side a preferred
        all_pairs: bool = false, "all-pairs";
    }
}

impl Data {
    /// All sources, as they were given.
    pub(crate) fn sources(&self) -> &[String] {
        super::note(at::data.path);
        self.data.all()
    }
}
