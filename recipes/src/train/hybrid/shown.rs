//! What a run of a hybrid shows.
use ::train::pictures::{Picture, Pictures};
use ::train::{Hooks, Samples};

use crate::hybrid::eval::{HybridSampler, Request};
use crate::hybrid::{Models, PromptedMdp};

/// Samples pictures of the watched requests, each with its request and its refined prompt.
pub(super) fn hooks<'a>(sampler: &'a HybridSampler<'a>, requests: &'a [String]) -> Hooks<'a, PromptedMdp, Models> {
    Hooks {
        diagnose: None,
        judge: None,
        sample: (!requests.is_empty()).then(|| -> Box<dyn Fn(&Models) -> _> {
            Box::new(move |learner: &Models| {
                let asked: Vec<Request> =
                    requests.iter().zip(0..).map(|(request, i)| Request::number(request, i)).collect();
                let made = sampler.generate(&learner.outer, &learner.inner, &asked, "picture");
                let made = match made {
                    // The run itself stops at its next step, with a checkpoint.
                    Err(failure) if failure.is_interrupt() => {
                        return Ok(Box::new(Pictures(Vec::new())) as Box<dyn Samples>);
                    }
                    made => made.map_err(|failure| failure.to_string())?,
                };
                let mut pictures = Vec::new();
                for (made, request) in made.iter().zip(requests) {
                    let picture = sampler.picture(made).map_err(|failure| failure.to_string())?;
                    let size = (picture.width() as u32, picture.height() as u32);
                    let caption = format!("{request}: {}", made.refined);
                    let picture = Picture::from_unit(&caption, size, picture.values());
                    pictures.extend(picture.map(|picture| picture.of_prompt(request)));
                }
                Ok(Box::new(Pictures(pictures)) as Box<dyn Samples>)
            })
        }),
    }
}
