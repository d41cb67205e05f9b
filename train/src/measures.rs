use std::collections::BTreeMap;

/// Means of a problem's own metrics, kept as sums and counts so that parts merge exactly.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measures(BTreeMap<String, (f64, f64)>);

impl Measures {
    /// Adds one value.
    pub fn add(&mut self, name: &str, value: f64) {
        let (sum, count) = self.0.entry(name.to_owned()).or_default();
        *sum += value;
        *count += 1.0;
    }

    /// Adds several values.
    pub fn add_all<'a>(&mut self, name: &str, values: impl IntoIterator<Item = &'a f64>) {
        let (sum, count) = values.into_iter().fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
        if count > 0.0 {
            let own = self.0.entry(name.to_owned()).or_default();
            *own = (own.0 + sum, own.1 + count);
        }
    }

    /// Merges another part.
    pub fn join(&mut self, other: Self) {
        for (name, (sum, count)) in other.0 {
            let own = self.0.entry(name).or_default();
            *own = (own.0 + sum, own.1 + count);
        }
    }

    /// The sum of each metric and the number of its values.
    pub fn totals(&self) -> impl Iterator<Item = (&str, f64, f64)> {
        self.0.iter().map(|(name, (sum, count))| (name.as_str(), *sum, *count))
    }

    /// The mean of each metric.
    pub fn means(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, (sum, count))| (name.as_str(), sum / count))
    }
}

impl<'n> FromIterator<(&'n str, f64, f64)> for Measures {
    /// Of the name, the sum and the number of values of each.
    fn from_iter<T: IntoIterator<Item = (&'n str, f64, f64)>>(totals: T) -> Self {
        Self(totals.into_iter().map(|(name, sum, count)| (name.to_owned(), (sum, count))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::Measures;

    #[test]
    fn parts_join_to_the_mean_of_all() {
        let (mut first, mut second) = (Measures::default(), Measures::default());
        for value in [1.0, 2.0] {
            first.add("a", value);
        }
        second.add("a", 6.0);
        second.add_all("b", &[1.0, 7.0]);
        second.add_all("none", &[]);
        first.join(second);
        assert_eq!(first.means().collect::<Vec<_>>(), [("a", 3.0), ("b", 4.0)]);
    }
}
