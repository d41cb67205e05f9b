use super::section;

section! {
    /// Who compares pairs.
    judge: Judge {
        /// Who compares: oracle (of embedded problems), people (--rounds wait for label), the folder of a reward model,
        /// or a run, by what it learned to reward
        judge: String = "oracle".to_owned(), "judge";
    }
}
