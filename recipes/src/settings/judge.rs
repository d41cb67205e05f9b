use super::section;

section! {
    /// The judge of pairs.
    judge: Judge {
        /// The judge: oracle (of embedded problems), people (`rounds.rounds` wait for label), the folder of a reward
        /// model, or a run (by its implicit reward)
        judge: String = "oracle".to_owned(), "judge";
    }
}
