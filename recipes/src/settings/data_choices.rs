//! The words that settings of text data take.
use serde::{Deserialize, Serialize};
use toml::Value;

use super::{Kind, Setting};

choices! {
    /// The comparisons of a conversation tree.
    TreePairsName {
        /// A ranked list for every message with ranked replies.
        List = "list",
        /// Pairs of replies of neighbouring ranks.
        Adjacent = "adjacent",
        /// Pairs of every two sibling replies.
        All = "all",
        /// Pairs of the best and the worst reply.
        BestWorst = "best-worst",
        /// The whole conversation as one item, every two sibling replies compared.
        Forest = "forest",
    }

    /// The part of a long prompt to keep.
    TruncationName {
        /// The end for chats and HH, else both ends.
        Auto = "auto",
        /// Its start.
        KeepStart = "keep-start",
        /// Its end.
        KeepEnd = "keep-end",
        /// Both ends; the middle goes.
        KeepBoth = "keep-both",
    }
}
