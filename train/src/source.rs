use mdp::{EpisodeOf, Mdp};
use objectives::{Feedback, Scores};
use policies::BoxError;

use crate::Measures;

/// One training example: episodes and feedback on them.
pub struct Item<M: Mdp, F> {
    /// The episodes; feedback indexes them from 0.
    pub episodes: Vec<EpisodeOf<M>>,
    /// The feedback, usually one.
    pub feedback: Vec<F>,
    /// The amount of work in the problem's unit ([`Source::UNIT`]), for throughput.
    pub size: usize,
}

impl<M: Mdp, F> std::fmt::Debug for Item<M, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Item").field("episodes", &self.episodes.len()).field("size", &self.size).finish_non_exhaustive()
    }
}

/// Examples of a source that are scored together.
pub(crate) type SliceOf<S> = Slice<<S as Source>::Mdp, <S as Source>::Feedback>;

/// A micro-batch: the episodes of several examples, with feedback indices adjusted.
pub struct Slice<M: Mdp, F> {
    /// Indices of the examples in the data.
    pub examples: Vec<usize>,
    /// Number of episodes of each example.
    pub counts: Vec<usize>,
    /// All their episodes.
    pub episodes: Vec<EpisodeOf<M>>,
    /// All their feedback, indexing `episodes`.
    pub feedback: Vec<F>,
    /// Sum of the examples' sizes.
    pub size: usize,
}

impl<M: Mdp, F> std::fmt::Debug for Slice<M, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slice").field("examples", &self.examples).field("size", &self.size).finish_non_exhaustive()
    }
}

impl<M: Mdp, F: Feedback> Slice<M, F> {
    /// Concatenates examples.
    pub fn new(items: impl IntoIterator<Item = (usize, Item<M, F>)>) -> Self {
        let mut slice =
            Self { examples: Vec::new(), counts: Vec::new(), episodes: Vec::new(), feedback: Vec::new(), size: 0 };
        for (example, item) in items {
            let counts = vec![item.episodes.len()];
            let Item { episodes, feedback, size } = item;
            slice.extend(Self { examples: vec![example], counts, episodes, feedback, size });
        }
        slice
    }

    /// Appends the examples of another slice.
    pub fn extend(&mut self, more: Self) {
        let offset = self.episodes.len();
        self.examples.extend(more.examples);
        self.counts.extend(more.counts);
        self.feedback.extend(more.feedback.iter().map(|feedback| feedback.shifted(offset)));
        self.episodes.extend(more.episodes);
        self.size += more.size;
    }
}

/// An indexed collection of training examples.
pub trait Source {
    /// The problem the episodes belong to.
    type Mdp: Mdp;
    /// The kind of feedback on them.
    type Feedback: Feedback;

    /// Number of examples.
    fn len(&self) -> usize;

    /// Whether there are no examples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The example at `index`; repeated calls return the same.
    fn item(&self, index: usize) -> Result<Item<Self::Mdp, Self::Feedback>, BoxError>;

    /// The unit of [`Item::size`], such as `tokens`.
    const UNIT: &'static str;

    /// The name of one decision, such as `token`, in the records.
    const DECISION: &'static str;

    /// A fingerprint of the examples, for the keys of caches and runs.
    ///
    /// Up to 64 examples, spread over the data, are hashed. By default only their shape is: sizes, numbers and weights
    /// of the decisions, better and worse episodes. Override it where the contents can be hashed.
    ///
    /// # Errors
    /// An example can't be read.
    fn fingerprint(&self) -> Result<String, BoxError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.len() as u64).to_le_bytes());
        for index in spread(self.len()) {
            let item = self.item(index)?;
            let rows: Vec<Vec<f64>> = item.episodes.iter().map(EpisodeOf::<Self::Mdp>::weights).collect();
            let sides: Vec<_> = item.feedback.iter().map(|f| (f.chosen(), f.rejected())).collect();
            hasher.update(format!("{} {rows:?} {sides:?}", item.size).as_bytes());
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// The index of example `example` in epoch `epoch`: a different one if each epoch has its own version of an
    /// example, such as new noise.
    fn index_in_epoch(&self, example: usize, _epoch: usize) -> usize {
        example
    }

    /// The token count of a slice, if the problem counts tokens: the records report its sum over training as
    /// `num_tokens`.
    fn n_tokens(&self, _slice: &Slice<Self::Mdp, Self::Feedback>) -> Option<usize> {
        None
    }

    /// The problem's own metrics of scored examples, besides the objective's.
    fn measure(&self, _slice: &Slice<Self::Mdp, Self::Feedback>, _scores: Scores<'_>) -> Measures {
        Measures::default()
    }
}

/// Up to 64 indices, spread over `n` examples.
pub(crate) fn spread(n: usize) -> impl Iterator<Item = usize> {
    let few = n.min(64);
    (0..few).map(move |i| i * n / few)
}
