//! The metrics that runs record, by the plots that show them.

/// A plot of metrics that belong together.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) title: &'static str,
    /// Label of the vertical axis.
    pub(super) axis: &'static str,
    /// A sentence about it.
    pub(super) about: &'static str,
    pub(super) kind: PlotKind,
    /// Series: a label and a metric's name; a `*` in both stands for one part of the name.
    pub(super) series: &'static [(&'static str, &'static str)],
}

/// How numbers are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlotKind {
    /// As they are.
    Plain,
    /// Shares of examples between 0 and 1, one half by chance.
    Accuracy,
    /// Shares between 0 and 1.
    Share,
    /// Norms, on a logarithmic axis.
    Norm,
}

const fn plot(
    title: &'static str,
    axis: &'static str,
    about: &'static str,
    series: &'static [(&'static str, &'static str)],
) -> Plot {
    Plot { title, axis, about, kind: PlotKind::Plain, series }
}

impl Plot {
    const fn of(self, kind: PlotKind) -> Self {
        Self { kind, ..self }
    }
}

/// The plots, in their order on the page. Every other metric gets a plot of its own.
pub(super) const PLOTS: &[Plot] = &[
    plot("Loss", "loss", "Less is better.", &[("", "loss")]),
    plot(
        "Negative log-likelihood",
        "nll_loss",
        "Of the better answers; it is a part of some losses.",
        &[("", "nll_loss")],
    ),
    plot(
        "Reward accuracy",
        "share of pairs",
        "Pairs whose better answer has the higher implicit reward.",
        &[("", "rewards/accuracies")],
    )
    .of(PlotKind::Accuracy),
    plot(
        "Implicit accuracy",
        "share of pairs",
        "Pairs whose better picture the policy has come closer to than the worse, compared with the reference.",
        &[("", "implicit_accuracy")],
    )
    .of(PlotKind::Accuracy),
    plot(
        "Accuracy of each half",
        "share of pairs",
        "Reward accuracy by one half's reward alone.",
        &[("*", "accuracies/*")],
    )
    .of(PlotKind::Accuracy),
    plot("Reward margin", "reward", "Chosen less rejected reward.", &[("", "rewards/margins")]),
    plot("Reward margin of each half", "reward", "The part of the margin that each half gives.", &[("*", "margins/*")]),
    plot("Share of the margin", "share", "How much of the margin each half gives.", &[("*", "margin_share/*")])
        .of(PlotKind::Share),
    plot(
        "Implicit rewards",
        "reward",
        "Beta times the log-ratio of policy and reference. Both often fall: only the margin is trained.",
        &[("chosen", "rewards/chosen"), ("rejected", "rewards/rejected")],
    ),
    plot(
        "Implicit rewards of each half",
        "reward",
        "The rewards by half.",
        &[("* chosen", "rewards/*/chosen"), ("* rejected", "rewards/*/rejected")],
    ),
    plot(
        "Log-probabilities",
        "nats per answer",
        "The policy's log-probability of whole answers.",
        &[("chosen", "logps/chosen"), ("rejected", "logps/rejected")],
    ),
    plot(
        "KL(reference, policy)",
        "nats per decision",
        "How far the policy has moved from the reference (Eq. 14), on held-out answers.",
        &[("", "divergence")],
    ),
    plot(
        "KL(reference, policy) of answers",
        "nats per answer",
        "The sum over an answer's tokens (Eq. 14).",
        &[("chosen", "divergence/chosen"), ("rejected", "divergence/rejected")],
    ),
    plot("Entropy", "nats per decision", "Low entropy: the policy is sure of the next decision.", &[("", "entropy")]),
    plot(
        "Denoising error less the reference's",
        "squared error",
        "Below 0 where the policy predicts the noise better than the reference.",
        &[("chosen", "diffusion/w_diff"), ("rejected", "diffusion/l_diff")],
    ),
    plot(
        "Denoising error by timestep",
        "squared error per number",
        "Of better pictures; t0 is the least noise.",
        &[("*", "diffusion/error/*")],
    ),
    plot(
        "Mean logits",
        "logit",
        "Of the tokens of answers.",
        &[("chosen", "logits/chosen"), ("rejected", "logits/rejected")],
    ),
    plot(
        "Token accuracy",
        "share of tokens",
        "Tokens that are the policy's likeliest.",
        &[("", "mean_token_accuracy")],
    )
    .of(PlotKind::Share),
    plot("Length", "decisions", "Length of the refined prompts.", &[("*", "length/*")]),
    plot("Gradient norm", "norm", "Before clipping.", &[("", "grad_norm")]).of(PlotKind::Norm),
    plot("Gradient norm of each half", "norm", "Before clipping.", &[("*", "grad_norm/*")]).of(PlotKind::Norm),
    plot("Share of the gradient", "share", "Of the squared norm.", &[("*", "grad_share/*")]).of(PlotKind::Share),
    plot("Learning rate", "rate", "By the schedule.", &[("", "lr")]),
];

/// Whether a metric is a cost, which has a section of its own, or counts what other axes show.
pub(super) fn is_cost(name: &str) -> bool {
    name.ends_with("_per_second") || name == "num_tokens"
}

/// The label of a metric's name in a plot's series; `None` where it is not one of them.
pub(super) fn label(plot: &Plot, name: &str) -> Option<String> {
    plot.series.iter().find_map(|(label, pattern)| match pattern.split_once('*') {
        None => (*pattern == name).then(|| (*label).to_owned()),
        Some((before, after)) => {
            let part = name.strip_prefix(before)?.strip_suffix(after)?;
            (!part.is_empty() && !part.contains('/')).then(|| label.replace('*', part))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_metric_is_in_two_plots() {
        for name in
            ["loss", "rewards/chosen", "rewards/refiner/chosen", "margins/generator", "grad_norm", "grad_norm/a"]
        {
            assert_eq!(PLOTS.iter().filter(|plot| label(plot, name).is_some()).count(), 1, "{name}");
        }
        assert!(PLOTS.iter().all(|plot| label(plot, "rewards").is_none()));
    }

    #[test]
    fn a_star_is_one_part_of_a_name() {
        let plot = PLOTS.iter().find(|plot| plot.title == "Implicit rewards of each half").unwrap();
        assert_eq!(label(plot, "rewards/refiner/rejected").as_deref(), Some("refiner rejected"));
        assert_eq!([label(plot, "rewards/a/b/chosen"), label(plot, "rewards//chosen")], [None, None]);
    }
}
