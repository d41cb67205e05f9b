//! The table and the charts.
use recipes::Failure;

use super::Start;
use super::{Curves, Loss, label, of};
use crate::Result;
use crate::result::{Chart, Series, Table};
use crate::runs::mean_curve;
use crate::statistics::Measured;

pub(super) fn table(all: &[Curves]) -> Result<Table> {
    let columns = ["loss", "start", "chosen", "rejected", "margin", "accuracy", "success"];
    let mut table =
        Table::new("Change of held-out rewards in training, accuracy at its end, and success in new scenes", &columns);
    for start in Start::ALL {
        let success = Measured::over_seeds(&of(all, Loss::Cpl, start)?.successes(false)).to_string();
        let none = || "-".to_owned();
        table.push([none(), start.name().to_owned(), none(), none(), none(), none(), success]);
    }
    for curves in all {
        let change = |name: &str| Ok::<_, Failure>(Measured::over_seeds(&curves.changes(name)?).to_string());
        table.push([
            curves.loss.name().to_owned(),
            curves.start.name().to_owned(),
            change("rewards/chosen")?,
            change("rewards/rejected")?,
            change("rewards/margins")?,
            Measured::over_seeds(&curves.last("rewards/accuracies")?).to_string(),
            Measured::over_seeds(&curves.successes(true)).to_string(),
        ]);
    }
    Ok(table)
}

pub(super) fn charts(all: &[Curves]) -> Result<Vec<Chart>> {
    let mut charts = Vec::new();
    for (name, loss, metric) in [
        ("cpl-chosen", Loss::Cpl, "rewards/chosen"),
        ("cpl-rejected", Loss::Cpl, "rewards/rejected"),
        ("cpl-dpo-chosen", Loss::Dpo, "rewards/chosen"),
        ("cpl-dpo-rejected", Loss::Dpo, "rewards/rejected"),
    ] {
        let mut series = Vec::new();
        for curves in all.iter().filter(|curves| curves.loss == loss) {
            let curve = curves.runs.iter().map(|run| run.curve(metric)).collect::<Result<Vec<_>>>()?;
            series.push(Series { name: curves.start.name().to_owned(), points: mean_curve(&curve) });
        }
        charts.push(Chart {
            name: name.to_owned(),
            title: format!("The {} during {}, by the start", label(metric), loss.name()),
            x_label: "step".to_owned(),
            y_label: label(metric).to_owned(),
            is_log: false,
            series,
        });
    }
    Ok(charts)
}
