//! Keys and values of cached tokens on a device: pages of a pool that all sequences of a model share.
//!
//! A token's keys and values are written where they were computed, and attention looks them up there: the indices of rows are all
//! that comes from this process's memory, once for all layers.

use super::composed::{product, rows_at, soft_cap, softmax};
use super::{AttentionForm, Heads};
use crate::transfer::from_host;
use candle_core::{D, DType, Device, Result, Tensor, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tokens of a page.
pub(super) const PAGE: usize = crate::kernels::cached::BLOCK;
/// Pages that a pool begins with: 1024 tokens.
const FIRST_PAGES: usize = 64;
/// The most rows of keys and values that are looked up together, padding included: a bound on the memory of attention.
const ROWS_AT_ONCE: usize = 1 << 15;

/// Pages of tokens on a device, of every layer of a model. Clones share it.
///
/// It grows by doubling. A page is free again once nobody holds it.
#[derive(Clone)]
pub(super) struct PagePool {
    heads: Heads,
    device: Device,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Of each layer the rows of all pages, `[pages * PAGE, 2 * key_value * size]`: a token's keys, then its values.
    layers: Vec<Tensor>,
    n_pages: usize,
    free: BTreeSet<usize>,
}

impl fmt::Debug for PagePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { layers, n_pages, free } = &*self.state();
        write!(f, "{n_pages} pages of {} layers, {} of them free, for {:?}", layers.len(), free.len(), self.heads)
    }
}

/// A page, which its pool gets back when it is dropped.
#[derive(Debug)]
pub(super) struct Page {
    pool: PagePool,
    index: usize,
}

impl Drop for Page {
    fn drop(&mut self) {
        self.pool.state().free.insert(self.index);
    }
}

impl Page {
    /// A page with the same tokens, of the same pool.
    pub(super) fn copied(&self) -> Result<Self> {
        let copy = self.pool.pages(1)?.swap_remove(0);
        for layer in &self.pool.state().layers {
            let tokens = layer.narrow(0, self.index * PAGE, PAGE)?.force_contiguous()?;
            layer.slice_set(&tokens, 0, copy.index * PAGE)?;
        }
        Ok(copy)
    }

    /// The row of a token.
    fn row(&self, token: usize) -> u32 {
        (self.index * PAGE + token) as u32
    }
}

impl PagePool {
    pub(super) fn new(heads: Heads, n_layers: usize, device: &Device) -> Result<Self> {
        let layer = |_| zeros(heads, FIRST_PAGES, device);
        let layers = (0..n_layers).map(layer).collect::<Result<Vec<Tensor>>>()?;
        let state = State { layers, n_pages: FIRST_PAGES, free: (0..FIRST_PAGES).collect() };
        Ok(Self { heads, device: device.clone(), state: Arc::new(Mutex::new(state)) })
    }

    /// Pages that nobody else holds, in the order of their rows.
    pub(super) fn pages(&self, n: usize) -> Result<Vec<Page>> {
        let mut state = self.state();
        if state.free.len() < n {
            // One layer after another is copied into twice its memory, or more.
            let more = (n - state.free.len()).next_multiple_of(state.n_pages);
            let n_pages = state.n_pages + more;
            for layer in &mut state.layers {
                let larger = zeros(self.heads, n_pages, &self.device)?;
                larger.slice_set(layer, 0, 0)?;
                *layer = larger;
            }
            let added = state.n_pages..n_pages;
            state.free.extend(added);
            state.n_pages = n_pages;
        }
        let page = |index| Page { pool: self.clone(), index };
        Ok((0..n).filter_map(|_| state.free.pop_first()).map(page).collect())
    }

    /// Fills pages, in the order of their rows, with whole pages of tokens: their keys and values, `[pages * PAGE, key_value * size]`.
    pub(super) fn fill(&self, layer: usize, pages: &[&Page], keys: &Tensor, values: &Tensor) -> Result<()> {
        let tokens = side_by_side(keys, values)?;
        let state = self.state();
        let Some(layer) = state.layers.get(layer) else {
            bail!("a pool of {} layers has no {layer}", state.layers.len())
        };
        let mut begin = 0;
        // Pages that follow each other in the pool are written together.
        for run in pages.chunk_by(|a, b| a.index + 1 == b.index) {
            layer.slice_set(&tokens.narrow(0, begin, run.len() * PAGE)?, 0, run[0].index * PAGE)?;
            begin += run.len() * PAGE;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn zeros(heads: Heads, n_pages: usize, device: &Device) -> Result<Tensor> {
    Tensor::zeros((n_pages * PAGE, 2 * heads.key_value * heads.size), DType::F32, device)
}

/// Keys and values as the rows of a pool.
fn side_by_side(keys: &Tensor, values: &Tensor) -> Result<Tensor> {
    let single = |x: &Tensor| x.detach().to_dtype(DType::F32)?.contiguous();
    Tensor::cat(&[single(keys)?, single(values)?], 1)
}

/// The tokens of a sequence: its pages, all of which are full but the last.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    pub(super) pages: Vec<&'a Page>,
    pub(super) n_tokens: usize,
}

impl Pages<'_> {
    fn row(&self, token: usize) -> u32 {
        self.pages[token / PAGE].row(token % PAGE)
    }
}

/// The last token of each sequence: where it is written, and what it sees, for all layers.
#[derive(Debug)]
pub(super) struct PagedStep {
    pool: PagePool,
    /// The row of each sequence's last token.
    own: Vec<u32>,
    /// The rows of each sequence's tokens.
    rows: Vec<Vec<u32>>,
    /// Where the last tokens are written, `[sequences, 2 * key_value * size]`.
    places: Tensor,
    /// What is looked up, by the window of the layers that ask.
    lookups: Mutex<BTreeMap<Option<usize>, Arc<[Lookup]>>>,
}

/// What some sequences see, filled up to the longest of them.
#[derive(Debug)]
struct Lookup {
    /// Which sequences.
    sequences: Tensor,
    n: usize,
    longest: usize,
    /// The rows of what they see, sequence after sequence.
    rows: Tensor,
    /// `[sequences, 1, longest]`: 0 for what they see, minus infinity where it is filled up; nothing if all are as long.
    mask: Option<Tensor>,
}

impl PagedStep {
    /// For sequences with at least one token each, all of one pool.
    pub(super) fn of(sequences: &[Pages<'_>]) -> Result<Self> {
        let Some(first) = sequences.iter().find_map(|sequence| sequence.pages.first()) else {
            bail!("a step of no sequences")
        };
        let pool = first.pool.clone();
        let is_other = |page: &&Page| !Arc::ptr_eq(&page.pool.state, &pool.state);
        if sequences.iter().any(|sequence| sequence.n_tokens == 0 || sequence.pages.iter().any(is_other)) {
            bail!("a sequence without tokens, or of another pool");
        }
        let rows: Vec<Vec<u32>> = sequences
            .iter()
            .map(|sequence| (0..sequence.n_tokens).map(|token| sequence.row(token)).collect())
            .collect();
        let own: Vec<u32> = rows.iter().filter_map(|rows| rows.last().copied()).collect();
        let width = 2 * pool.heads.key_value * pool.heads.size;
        let places = from_host(own.clone(), (own.len(), 1), &pool.device)?;
        let places = places.broadcast_as((own.len(), width))?.contiguous()?;
        Ok(Self { pool, own, rows, places, lookups: Mutex::default() })
    }

    /// Fails unless the pool has a layer of such heads.
    pub(super) fn check(&self, heads: Heads, layer: usize) -> Result<()> {
        let Heads { key_value, size, .. } = self.pool.heads;
        if (heads.key_value, heads.size) != (key_value, size) || layer >= self.pool.state().layers.len() {
            bail!("layer {layer} for {heads:?} of {:?}", self.pool);
        }
        Ok(())
    }

    /// Writes the last tokens' keys and values into a layer, `[sequences, key_value * size]` each.
    pub(super) fn write(&self, layer: usize, keys: &Tensor, values: &Tensor) -> Result<()> {
        let state = self.pool.state();
        let Some(layer) = state.layers.get(layer) else {
            bail!("a pool of {} layers has no {layer}", state.layers.len())
        };
        layer.scatter_set(&self.places, &side_by_side(keys, values)?, 0)
    }

    /// Attention of the last tokens over their sequences, themselves included: `q` and the result `[sequences, query * size]`.
    pub(super) fn attention(&self, q: &Tensor, heads: Heads, form: AttentionForm, layer: usize) -> Result<Tensor> {
        let tokens = match self.pool.state().layers.get(layer) {
            Some(tokens) => tokens.clone(),
            None => bail!("a pool has no layer {layer}"),
        };
        let q = q.detach().to_dtype(DType::F32)?.contiguous()?;
        let lookups = self.lookups(form.window)?;
        let mut parts = Vec::with_capacity(lookups.len());
        for lookup in &*lookups {
            let q = if lookups.len() == 1 { q.clone() } else { rows_at(&q, &lookup.sequences)? };
            parts.push(lookup.attend(&q, &rows_at(&tokens, &lookup.rows)?, heads, form)?);
        }
        let [one] = &parts[..] else {
            let order: Vec<&Tensor> = lookups.iter().map(|lookup| &lookup.sequences).collect();
            return back_in_order(&Tensor::cat(&parts, 0)?, &Tensor::cat(&order, 0)?);
        };
        Ok(one.clone())
    }

    /// What is looked up by layers with a window, made when the first of them asks.
    fn lookups(&self, window: Option<usize>) -> Result<Arc<[Lookup]>> {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = lookups.get(&window) {
            return Ok(Arc::clone(made));
        }
        let seen = |rows: &Vec<u32>| rows.len().min(window.unwrap_or(usize::MAX));
        let longest = self.rows.iter().map(seen).max().unwrap_or(0);
        // All together in their order if they fit, else those of like lengths together.
        let mut order: Vec<usize> = (0..self.own.len()).collect();
        if longest * order.len() > ROWS_AT_ONCE {
            order.sort_by_key(|&index| seen(&self.rows[index]));
        }
        let mut made = Vec::new();
        let mut rest = &order[..];
        while !rest.is_empty() {
            let fits =
                |n: &usize| n * rest[..*n].iter().map(|&i| seen(&self.rows[i])).max().unwrap_or(0) <= ROWS_AT_ONCE;
            let n = (1..=rest.len()).take_while(fits).last().unwrap_or(1);
            let (part, left) = rest.split_at(n);
            made.push(self.lookup(part, window)?);
            rest = left;
        }
        let made: Arc<[Lookup]> = made.into();
        lookups.insert(window, Arc::clone(&made));
        Ok(made)
    }

    fn lookup(&self, sequences: &[usize], window: Option<usize>) -> Result<Lookup> {
        let device = &self.pool.device;
        let seen = |index: &usize| {
            let rows = &self.rows[*index];
            &rows[rows.len() - rows.len().min(window.unwrap_or(usize::MAX))..]
        };
        let longest = sequences.iter().map(|index| seen(index).len()).max().unwrap_or(0);
        let n = sequences.len();
        let mut rows = Vec::with_capacity(n * longest);
        for index in sequences {
            rows.extend_from_slice(seen(index));
            // Any row that has numbers will do.
            rows.resize(rows.len().next_multiple_of(longest.max(1)), self.own[*index]);
        }
        let is_ragged = sequences.iter().any(|index| seen(index).len() < longest);
        let lengths = || sequences.iter().map(|index| seen(index).len() as f32).collect::<Vec<f32>>();
        let mask = if is_ragged { Some(mask(lengths(), longest, device)?) } else { None };
        let sequences = from_host(sequences.iter().map(|&index| index as u32).collect(), n, device)?;
        Ok(Lookup { sequences, n, longest, rows: from_host(rows, n * longest, device)?, mask })
    }
}

/// `[n, 1, longest]`: 0 before each length, minus infinity from there on.
fn mask(lengths: Vec<f32>, longest: usize, device: &Device) -> Result<Tensor> {
    let n = lengths.len();
    let lengths = from_host(lengths, (n, 1, 1), device)?;
    let places = from_host((0..longest).map(|place| place as f32).collect(), (1, 1, longest), device)?;
    let open = Tensor::zeros((n, 1, longest), DType::F32, device)?;
    places.broadcast_lt(&lengths)?.where_cond(&open, &open.affine(1., f64::NEG_INFINITY)?)
}

impl Lookup {
    /// Queries `[n, query * size]` over the tokens that were looked up, `[n * longest, 2 * key_value * size]`.
    fn attend(&self, q: &Tensor, tokens: &Tensor, heads: Heads, form: AttentionForm) -> Result<Tensor> {
        let Heads { query, key_value, size } = heads;
        let (n, longest, group) = (self.n, self.longest, query / key_value);
        let width = key_value * size;
        // The queries of a key head are a matrix, and so are its keys: `[n * key_value, group or longest, size]`.
        let of_head = |x: Tensor| {
            let x = x.reshape((n, longest, key_value, size))?.transpose(1, 2)?.contiguous()?;
            x.reshape((n * key_value, longest, size))
        };
        let (keys, values) = (of_head(tokens.narrow(1, 0, width)?)?, of_head(tokens.narrow(1, width, width)?)?);
        let scale = form.scale.unwrap_or_else(|| 1. / (size as f64).sqrt());
        let scores = (product(&q.reshape((n * key_value, group, size))?, &keys.t()?)? * scale)?;
        let scores = soft_cap(&scores, form.cap)?;
        let scores = match &self.mask {
            Some(mask) => {
                scores.reshape((n, query, longest))?.broadcast_add(mask)?.reshape((n * key_value, group, longest))?
            }
            None => scores,
        };
        product(&softmax(&scores)?, &values)?.reshape((n, query * size))
    }
}

/// Puts rows into the order of their indices.
fn back_in_order(rows: &Tensor, order: &Tensor) -> Result<Tensor> {
    let places = order.unsqueeze(D::Minus1)?.broadcast_as(rows.dims())?.contiguous()?;
    rows.zeros_like()?.scatter(&places, rows, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: Heads = Heads { query: 1, key_value: 1, size: 1 };

    fn numbers(pool: &PagePool, page: &Page) -> Vec<f32> {
        let rows = pool.state().layers[0].narrow(0, page.index * PAGE, PAGE).unwrap();
        rows.narrow(1, 0, 1).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Keys and values that tell a page by its number.
    fn tokens(numbers: &[f32]) -> Tensor {
        let numbers: Vec<f32> = numbers.iter().flat_map(|&x| [x; PAGE]).collect();
        Tensor::from_vec(numbers, (PAGE * 2, 1), &Device::Cpu).unwrap()
    }

    #[test]
    fn a_pool_grows_keeps_its_tokens_and_gets_pages_back() {
        let pool = PagePool::new(HEADS, 1, &Device::Cpu).unwrap();
        let mut pages = pool.pages(FIRST_PAGES).unwrap();
        pool.fill(0, &[&pages[3], &pages[7]], &tokens(&[3., 7.]), &tokens(&[0., 0.])).unwrap();
        let further = pool.pages(2).unwrap();
        assert_eq!(pool.state().n_pages, 2 * FIRST_PAGES);
        pool.fill(0, &[&further[0], &further[1]], &tokens(&[8., 9.]), &tokens(&[0., 0.])).unwrap();
        assert_eq!(numbers(&pool, &pages[3]), [3.; PAGE]);
        assert_eq!(numbers(&pool, &pages[7]), [7.; PAGE]);
        assert_eq!(numbers(&pool, &further[1]), [9.; PAGE]);
        let copy = further[0].copied().unwrap();
        assert!(copy.index != further[0].index && numbers(&pool, &copy) == [8.; PAGE]);
        // The page is free, and the first to be used again.
        drop(pages.remove(7));
        assert_eq!(pool.pages(1).unwrap()[0].index, 7);
        drop((pages, further, copy));
        assert_eq!(pool.state().free.len(), 2 * FIRST_PAGES);
    }

    #[test]
    fn sequences_beyond_what_is_looked_up_at_once_are_attended_in_parts() {
        let pool = PagePool::new(HEADS, 1, &Device::Cpu).unwrap();
        let pages = pool.pages(ROWS_AT_ONCE / PAGE + 2).unwrap();
        let all: Vec<&Page> = pages.iter().collect();
        let n = all.len() * PAGE;
        let keys: Vec<f32> = (0..n).map(|row| (row % 7) as f32).collect();
        let keys = Tensor::from_vec(keys, (n, 1), &Device::Cpu).unwrap();
        pool.fill(0, &all, &keys, &keys).unwrap();
        // The longest first, so that their order is not that in which they are attended.
        let sequences = [(0, all.len() * PAGE - 3), (0, PAGE + 2), (1, 5)];
        let paged = |&(first, n_tokens): &(usize, usize)| Pages { pages: all[first..].to_vec(), n_tokens };
        let q = Tensor::new(&[[0.3f32], [-0.2], [0.5]], &Device::Cpu).unwrap();
        let attend = |sequences: &[(usize, usize)], q: &Tensor| {
            let step = PagedStep::of(&sequences.iter().map(paged).collect::<Vec<_>>()).unwrap();
            step.attention(q, HEADS, AttentionForm::default(), 0).unwrap().flatten_all().unwrap().to_vec1::<f32>()
        };
        let together = attend(&sequences, &q).unwrap();
        for (index, sequence) in sequences.iter().enumerate() {
            let alone = attend(&[*sequence], &q.narrow(0, index, 1).unwrap()).unwrap();
            assert!((together[index] - alone[0]).abs() < 1e-6, "{together:?} {alone:?}");
        }
    }
}
