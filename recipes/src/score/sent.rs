//! Scores of pictures as they travel between processes.
use super::{DrawnTimesteps, PictureScore, PictureScores, RefinedScore, RefinedScores};
use crate::divided::Travels;

type Numbers<'n> = &'n mut dyn Iterator<Item = f64>;

impl Travels for DrawnTimesteps {
    fn write(&self, to: &mut Vec<f64>) {
        match self {
            Self::One(drawn) => vec![*drawn].write(to),
            Self::Several(drawn) => drawn.write(to),
        }
    }

    fn read(from: Numbers<'_>) -> Option<Self> {
        Some(Vec::<usize>::read(from)?.into_iter().collect())
    }
}

impl Travels for PictureScore {
    fn write(&self, to: &mut Vec<f64>) {
        (self.error, self.reference_error).write(to);
    }

    fn read(from: Numbers<'_>) -> Option<Self> {
        let (error, reference_error) = Travels::read(from)?;
        Some(Self { error, reference_error })
    }
}

impl Travels for PictureScores {
    fn write(&self, to: &mut Vec<f64>) {
        self.timestep.write(to);
        self.chosen.write(to);
        self.rejected.write(to);
        self.margin.write(to);
    }

    fn read(from: Numbers<'_>) -> Option<Self> {
        Some(Self {
            timestep: Travels::read(from)?,
            chosen: Travels::read(from)?,
            rejected: Travels::read(from)?,
            margin: Travels::read(from)?,
        })
    }
}

impl Travels for RefinedScore {
    fn write(&self, to: &mut Vec<f64>) {
        self.log_probs.write(to);
        self.error.write(to);
        self.reference_log_probs.write(to);
        self.reference_error.write(to);
    }

    fn read(from: Numbers<'_>) -> Option<Self> {
        Some(Self {
            log_probs: Travels::read(from)?,
            error: Travels::read(from)?,
            reference_log_probs: Travels::read(from)?,
            reference_error: Travels::read(from)?,
        })
    }
}

impl Travels for RefinedScores {
    fn write(&self, to: &mut Vec<f64>) {
        self.timestep.write(to);
        self.chosen.write(to);
        self.rejected.write(to);
        [self.margin_refiner, self.margin_generator].write(to);
        self.margin.write(to);
    }

    fn read(from: Numbers<'_>) -> Option<Self> {
        let (timestep, chosen, rejected) = (Travels::read(from)?, Travels::read(from)?, Travels::read(from)?);
        let [margin_refiner, margin_generator] = Travels::read(from)?;
        Some(Self { timestep, chosen, rejected, margin_refiner, margin_generator, margin: Travels::read(from)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_arrive_as_they_were_sent() {
        let side = |error| PictureScore { error, reference_error: (error > 1.0).then_some(0.5) };
        let several = DrawnTimesteps::Several(vec![9, 4]);
        let pictures = PictureScores { timestep: several, chosen: side(1.0), rejected: side(2.0), margin: None };
        let side = |error: f64| RefinedScore {
            log_probs: vec![-error, 0.0],
            error,
            reference_log_probs: (error > 1.0).then(|| vec![-0.25]),
            reference_error: None,
        };
        let refined = RefinedScores {
            timestep: DrawnTimesteps::One(3),
            chosen: side(1.0),
            rejected: side(2.0),
            margin_refiner: Some(0.25),
            margin_generator: None,
            margin: Some(0.25),
        };
        let mut sent = Vec::new();
        pictures.write(&mut sent);
        refined.write(&mut sent);
        let mut sent = sent.into_iter();
        assert_eq!(PictureScores::read(&mut sent), Some(pictures));
        assert_eq!(RefinedScores::read(&mut sent), Some(refined));
        assert_eq!(sent.next(), None);
    }
}
