use super::section;

section! {
    /// Which tokens of an answer the reward is laid on.
    credit: Credit {
        /// A page of heat maps, in one file
        html: Option<String> = None, "html";
        /// The folder of a reward model, whose differences between beginnings of an answer are measured too
        reward_model: Option<String> = None, "reward-model";
        /// Answers shown in the terminal
        show: usize = 4, "show-answers";
    }
}
