//! What policies made: answers side by side, pictures, and held-out answers on the colours of their rewards.
use std::fmt::Write as _;

use crate::heat::{self, Scale};
use crate::page::{Html, Section, data_url};
use crate::run::{LARGEST, Run, Sheet, TextSample, Tile};

/// The field that shows only entries whose prompt has a text in it; the script makes it visible.
const FILTER: &str = "<div class=\"controls\" hidden><label>Filter by prompt \
                      <input type=\"search\" class=\"filter\" autocomplete=\"off\"></label> \
                      <output class=\"shown\" aria-live=\"polite\"></output></div>";

/// An entry of a section that has a filter.
fn entry(prompt: &str, content: &str) -> Html {
    let prompt = if prompt.is_empty() { Html::default() } else { Html::element("p", "prompt", Html::text(prompt)) };
    Html::element("article", "entry", format!("{prompt}{content}"))
}

/// Answers at the first and the last evaluation of each run, by prompt.
pub(super) fn texts(runs: &[Run]) -> Section {
    let mut section = Section::new("Answers before and after");
    let mut prompts: Vec<&str> = Vec::new();
    let samples = runs.iter().flat_map(|run| &run.samples.texts).flat_map(|(_, samples)| samples);
    for TextSample { prompt, .. } in samples {
        if !prompts.contains(&prompt.as_str()) {
            prompts.push(prompt);
        }
    }
    if prompts.is_empty() {
        return section;
    }
    section = section.html(Html::markup(FILTER));
    for prompt in prompts {
        let mut columns = String::new();
        for run in runs {
            for (step, samples) in &run.samples.texts {
                let answers = samples.iter().filter(|sample| sample.prompt == prompt);
                let answers: String = answers
                    .map(|sample| Html::element("p", "answer", Html::text(sample.response.trim())).to_string())
                    .collect();
                if !answers.is_empty() {
                    let _ = write!(columns, "<div><h4>{}</h4>{answers}</div>", Html::text(&when(runs, run, *step)));
                }
            }
        }
        section = section.html(entry(prompt, &format!("<div class=\"beside\">{columns}</div>")));
    }
    section
}

/// Pictures at the first and the last evaluation of each run: whole sheets, and by prompt.
pub(super) fn pictures(runs: &[Run]) -> Section {
    let mut section = Section::new("Pictures before and after");
    let (mut figures, mut prompts): (String, Vec<&str>) = (String::new(), Vec::new());
    for run in runs {
        for (step, sheet) in &run.samples.pictures {
            if sheet.png.is_empty() {
                section = section.text(&too_large(run, *step, sheet));
                continue;
            }
            let title = when(runs, run, *step);
            figures.push_str(&enlarged(&sheet.png, &format!("Pictures: {title}"), &title));
            for tile in &sheet.tiles {
                if !prompts.contains(&tile.prompt.as_str()) {
                    prompts.push(&tile.prompt);
                }
            }
        }
    }
    if !figures.is_empty() {
        let dialog = "<dialog id=\"large\" aria-label=\"Picture\"><form method=\"dialog\"><button>Close</button></form>\
                      <img alt=\"\"></dialog>";
        section = section.html(Html::element("div", "figures", figures)).html(Html::markup(dialog));
    }
    if !prompts.is_empty() {
        section = section.heading("By prompt").html(Html::markup(FILTER));
    }
    let entries = prompts.into_iter().map(|prompt| entry(prompt, &pictures_of(runs, prompt)));
    let entries: Vec<Html> = entries.collect();
    if entries.is_empty() { section } else { section.html(Html::element("div", "entries", Html::joined(entries))) }
}

/// The pictures of a prompt side by side.
fn pictures_of(runs: &[Run], prompt: &str) -> String {
    let mut columns = String::new();
    for run in runs {
        for (step, sheet) in &run.samples.pictures {
            let title = when(runs, run, *step);
            let made = sheet.tiles.iter().filter(|tile| tile.prompt == prompt);
            let made: String =
                made.map(|tile| enlarged(&tile.png, &format!("{prompt}, {title}"), below(tile))).collect();
            if !made.is_empty() {
                let _ = write!(columns, "<div><h4>{}</h4>{made}</div>", Html::text(&title));
            }
        }
    }
    Html::element("div", "beside tiles", columns).to_string()
}

/// What a picture's caption says beside its prompt, such as what a refiner made of it.
fn below(tile: &Tile) -> &str {
    tile.caption.strip_prefix(tile.prompt.as_str()).map_or(&*tile.caption, |rest| rest.trim_start_matches([':', ' ']))
}

/// A picture that opens large.
fn enlarged(png: &[u8], name: &str, caption: &str) -> String {
    let (source, name) = (data_url("image/png", png), Html::text(name));
    let caption = if caption.is_empty() {
        String::new()
    } else {
        Html::element("figcaption", "", Html::text(caption)).to_string()
    };
    format!(
        "<figure><button type=\"button\" class=\"enlarge\" aria-haspopup=\"dialog\"><img src=\"{source}\" alt=\"{name}\">\
         </button>{caption}</figure>"
    )
}

fn too_large(run: &Run, step: usize, sheet: &Sheet) -> String {
    let (mb, most) = (sheet.n_bytes >> 20, LARGEST >> 20);
    let path = run.folder.join(format!("samples/step-{step}.png"));
    format!("{} has {mb} MB and is left out: a page holds sheets of up to {most} MB.", path.display())
}

/// Held-out answers with the rewards of their tokens.
pub(super) fn heat_maps(runs: &[Run]) -> Section {
    let mut section = Section::new("Rewards of tokens");
    if runs.iter().all(|run| run.rewards.is_empty()) {
        return section;
    }
    section = section
        .text(
            "Held-out answers with the implicit reward of each token, beta times the log-ratio of policy and reference: red is \
             less, blue is more. What is known to be wrong is underlined.",
        )
        .html(Html::markup(FILTER));
    for run in runs.iter().filter(|run| !run.rewards.is_empty()) {
        if runs.len() > 1 {
            section = section.heading(run.name());
        }
        let values = run.rewards.iter().flat_map(|answer| &answer.pieces).map(|piece| piece.value);
        let scale = Scale::of_differences(values);
        // The answers of a prompt stand together.
        for answers in run.rewards.chunk_by(|one, next| one.prompt == next.prompt) {
            let map = |answer: &crate::run::RewardedAnswer| {
                format!("<h4>{}</h4>{}", Html::text(&answer.side), heat::map(&answer.pieces, scale))
            };
            section = section.html(entry(&answers[0].prompt, &answers.iter().map(map).collect::<String>()));
        }
    }
    section
}

/// Whose samples these are.
fn when(runs: &[Run], run: &Run, step: usize) -> String {
    let whose = if runs.len() == 1 { String::new() } else { format!("{}, ", run.name()) };
    match step {
        0 => format!("{whose}before training"),
        step => format!("{whose}after step {step}"),
    }
}
