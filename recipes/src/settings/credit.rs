use super::section;

section! {
    /// Which decisions the reward is laid on: tokens of an answer, steps and regions of a picture.
    credit: Credit {
        /// A page of heat maps, in one file
        html: Option<String> = None, "html";
        /// The folder of a reward model, whose differences between beginnings of an answer are measured too
        reward_model: Option<String> = None, "reward-model";
        /// Equal parts of the timesteps whose rewards are told apart
        timestep_bins: usize = 8, "timestep-bins";
        /// Answers shown in the terminal; of pictures, their rewards
        show: usize = 4, "show-answers";
    }
}
