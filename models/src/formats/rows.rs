//! Row orders of projections in different formats.

/// Copies rows into a new order: row `i` of the result is row `source(i)` of `values`.
pub(crate) fn reorder(values: &[f32], n_rows: usize, source: impl Fn(usize) -> usize) -> Vec<f32> {
    let width = values.len() / n_rows.max(1);
    (0..n_rows).flat_map(|row| values[source(row) * width..][..width].iter().copied()).collect()
}

/// Permutes rows from interleaved rotary pairs to pairs half a head apart.
///
/// llama.cpp and llama2.c rotate coordinates `2j` and `2j + 1` of a head together, Hugging Face's Llama `j` and `j +
/// size / 2`; with permuted rows both give the same scores.
pub(crate) fn halves(n_rows: usize, heads: usize) -> impl Fn(usize) -> usize {
    let size = n_rows / heads;
    move |row| {
        let (head, at) = (row / size, row % size);
        head * size + if at < size / 2 { 2 * at } else { 2 * (at - size / 2) + 1 }
    }
}

/// Permutes rows from blocks of queries, keys and values to the three per head.
pub(crate) fn per_head(n_rows: usize, heads: usize) -> impl Fn(usize) -> usize {
    let size = n_rows / 3 / heads;
    move |row| {
        let (head, part, at) = (row / (3 * size), row / size % 3, row % size);
        (part * heads + head) * size + at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_pairs_become_halves() {
        // Two heads of four: pairs (0,1), (2,3) become (0,2), (1,3).
        let order: Vec<usize> = (0..8).map(halves(8, 2)).collect();
        assert_eq!(order, [0, 2, 1, 3, 4, 6, 5, 7]);
        assert_eq!(
            reorder(&[0., 0.5, 1., 1.5, 2., 2.5, 3., 3.5], 4, halves(4, 1)),
            [0., 0.5, 2., 2.5, 1., 1.5, 3., 3.5]
        );
    }

    #[test]
    fn blocks_become_heads() {
        // Two heads of one: q0 q1 k0 k1 v0 v1 become q0 k0 v0 q1 k1 v1.
        let order: Vec<usize> = (0..6).map(per_head(6, 2)).collect();
        assert_eq!(order, [0, 2, 4, 1, 3, 5]);
    }
}
