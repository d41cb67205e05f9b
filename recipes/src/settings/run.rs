use datasets::pairs::Modality;

use super::choices::ComputePrecision;
use super::section;

section! {
    /// The kind of problem, device, output and seed of a run.
    run: Run {
        /// The kind of decision problem
        mdp: Modality = Modality::Token, "mdp";
        /// Seed of all random draws
        seed: u64 = 0, "seed";
        /// cpu, or in a build with the cuda feature cuda:N, or cuda (of several processes each has its own)
        device: String = "cpu".to_owned(), "device";
        /// Where results go: a folder for train (a new one) and reproduce, a file for others
        out: Option<String> = None, "out";
        /// CPU threads; else one for each core; results do not depend on it
        threads: Option<usize> = None, "threads";
        /// Precision of matrix products and convolutions
        precision: ComputePrecision = ComputePrecision::F32, "precision";
    }
}
