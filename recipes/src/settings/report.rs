use super::section;

section! {
    /// Pages about runs.
    report: Report {
        /// A folder that gets the plots as SVG files too
        svg: Option<String> = None, "svg";
        /// Draws the curves of the committed reference run behind those of runs on the same embedded problem
        overlay: bool = true, "overlay";
    }
}
