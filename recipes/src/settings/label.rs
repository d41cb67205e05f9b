use super::section;

section! {
    /// Pairs to compare, and the page where people do.
    label: Label {
        /// A folder of pairs to compare: sample writes it, label and judge add to its labels.jsonl
        pairs: Option<String> = None, "pairs";
        /// The address to listen on; others than this machine's own need a token
        host: String = "127.0.0.1".to_owned(), "host";
        /// The port to listen on; 0: any that is free
        port: usize = 8080, "port";
        /// The secret that labellers need: 16 characters or more
        token: Option<String> = None, "token";
        /// The labeller's name; without it the page asks
        labeller: Option<String> = None, "labeller";
    }
}
