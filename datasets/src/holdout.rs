//! The hold-out rule: which examples are excluded from training and used for evaluation.
//!
//! The same rule applies to records, images, pair folders, latents, trajectories and prompts. It depends on prompt
//! texts, a share and a seed only, so the same pairs split the same way in every file format.
use mdp::chance;

use crate::error::DatasetError;
use crate::record::{Message, PreferenceRecord, Text};

/// A hash of a prompt's text or messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PromptHash(u64);

impl PromptHash {
    /// The hash as a number, for files.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The hash of that number.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Hashes the prompt of a record, before truncation: truncated prompts may coincide where the originals differ.
    pub fn of(prompt: &Text) -> Self {
        match prompt {
            Text::Plain(text) => Self::of_plain(text),
            Text::Chat(messages) => Self::of_messages(messages),
        }
    }

    /// Hashes what a record is held out by: its prompt, or what the records of its conversation share.
    pub fn of_record(record: &PreferenceRecord) -> Self {
        match (&record.prompt, record.shared_messages) {
            (Text::Chat(messages), Some(n)) if n < messages.len() => Self::of_messages(&messages[..n]),
            _ => Self::of(&record.prompt),
        }
    }

    /// Hashes messages like [`PromptHash::of`] hashes [`Text::Chat`].
    fn of_messages(messages: &[Message]) -> Self {
        let mut parts = Vec::with_capacity(2 * messages.len());
        for message in messages {
            parts.push(message.role.as_str().into());
            parts.push(message.content.words());
            if !message.fields.is_empty() {
                parts.push(serde_json::to_string(&message.fields).unwrap_or_default().into());
            }
        }
        Self::of_parts(parts.iter().map(AsRef::as_ref))
    }

    /// Hashes a plain prompt, caption or request like [`PromptHash::of`] hashes [`Text::Plain`].
    pub fn of_plain(prompt: &str) -> Self {
        Self::of_parts([prompt])
    }

    fn of_parts<'p>(parts: impl IntoIterator<Item = &'p str>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            // The length first, so that no two lists of parts run together into the same bytes.
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(u64::from_be_bytes(first))
    }
}

/// Splits examples by prompt into the positions of the rest and of the held-out part, both ascending.
///
/// All examples of a prompt are on the same side. Prompts are held out in the order of a hash of seed and text, as long
/// as one more brings the held-out share of the *examples* closer to `share`.
///
/// # Errors
/// The share is not between 0 and 1.
///
/// # Examples
/// ```
/// use datasets::holdout::{PromptHash, hold_out};
///
/// let prompts = ["a cat", "a dog", "a cat", "a bird"].map(PromptHash::of_plain);
/// let (rest, held_out) = hold_out(prompts, 0.5, 0)?;
/// assert_eq!(rest.len() + held_out.len(), 4);
/// assert_eq!(rest.contains(&0), rest.contains(&2));
/// # Ok::<(), datasets::DatasetError>(())
/// ```
pub fn hold_out(
    prompts: impl IntoIterator<Item = PromptHash>,
    share: f64,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>), DatasetError> {
    if !(0.0..=1.0).contains(&share) {
        let value = share.to_string();
        return Err(DatasetError::Setting { name: "held-out share", value, hint: "it must be between 0 and 1" });
    }
    let by_prompt = prompts.into_iter().enumerate();
    let mut by_prompt: Vec<(u64, usize)> =
        by_prompt.map(|(position, prompt)| (chance::bits(seed, prompt.0), position)).collect();
    by_prompt.sort_unstable();
    let wanted = share * by_prompt.len() as f64;
    let mut n_held_out = 0;
    for prompt in by_prompt.chunk_by(|first, second| first.0 == second.0) {
        // A prompt goes where it brings the share closer; one that is as near either way is held out if others are left.
        let middle = n_held_out as f64 + prompt.len() as f64 / 2.0;
        let is_last = n_held_out + prompt.len() == by_prompt.len();
        if middle > wanted || (is_last && middle == wanted) {
            break;
        }
        n_held_out += prompt.len();
    }
    let positions = |part: &[(u64, usize)]| {
        let mut positions: Vec<usize> = part.iter().map(|&(_, position)| position).collect();
        positions.sort_unstable();
        positions
    };
    let (held_out, rest) = by_prompt.split_at(n_held_out);
    Ok((positions(rest), positions(held_out)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use parquet::data_type::{ByteArray, ByteArrayType};
    use serde_json::{Map, json};

    use super::{PromptHash, hold_out};
    use crate::images::{self, ImageKind, ImageSettings, LatentLayout, LatentNotes, LatentWriter, Latents};
    use crate::images::{ContextLayout, Pixels, Preparation};
    use crate::pairs::{GeneratedPair, GeneratedResult, Modality, NewResult, PairFolder, PairWriter, Preference};
    use crate::record::{Message, Prompt, Text};
    use crate::test_data::{self, EOS, tokenizer};

    #[test]
    fn what_is_left_to_learn_from_is_not_decided_by_a_tie() {
        let split = |n: usize, share| hold_out(vec![PromptHash::of_plain("one"); n], share, 0).unwrap();
        assert_eq!((split(3, 0.5).0.len(), split(3, 0.5).1.len()), (3, 0));
        assert_eq!(split(3, 0.51).0.len(), 0);
        let two = |share| hold_out(["one", "two"].map(PromptHash::of_plain), share, 0).unwrap().1.len();
        assert_eq!([0.2, 0.25, 0.5, 0.7, 0.75, 0.8].map(two), [0, 1, 1, 1, 1, 2]);
    }

    use crate::{Dataset, OnBad, ReadOptions, TokenSettings, Tokenise};

    use mdp::diffusion::LatentShape;
    const PIXEL: LatentShape = LatentShape { channels: 3, height: 1, width: 1 };
    const SHARE: f64 = 0.25;

    /// Forty pairs about prompts that have one or two of them each, far apart.
    fn prompts() -> Vec<String> {
        (0..40).map(|number| format!("say {}", char::from(b'a' + (number * 7 % 23) as u8))).collect()
    }

    fn tokenise() -> Tokenise {
        Tokenise::new(&tokenizer(), None, TokenSettings::new(EOS)).unwrap()
    }

    /// The numbers of the examples that are held out.
    fn held_out(data: &Dataset, seed: u64) -> Vec<usize> {
        let (_, held_out) = data.hold_out(SHARE, seed).unwrap();
        held_out.iter().map(|example| example.unwrap().index as usize).collect()
    }

    fn json_lines(path: &Path, lines: impl Iterator<Item = serde_json::Value>) {
        fs::write(path, lines.map(|line| line.to_string()).collect::<Vec<_>>().join("\n")).unwrap();
    }

    fn parquet(prompts: &[String]) -> Vec<u8> {
        let columns = ["prompt", "chosen", "rejected"].map(|name| format!("required binary {name} (UTF8);"));
        test_data::write(&format!("message pairs {{ {} }}", columns.concat()), |writer| {
            let mut group = writer.next_row_group().unwrap();
            let said = ["yes", "no"].map(|said| vec![said.to_owned(); prompts.len()]);
            for column in [prompts, &said[0], &said[1]] {
                let values: Vec<ByteArray> = column.iter().map(|text| text.as_str().into()).collect();
                let mut writer = group.next_column().unwrap().unwrap();
                writer.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
                writer.close().unwrap();
            }
            group.close().unwrap();
        })
    }

    fn pair_folder(path: &Path, modality: Modality, requests: &[String]) -> PairFolder {
        let (picture, latent) = (Pixels::from_fn(1, 1, |_, _, _| 0.5), [0.5; 3]);
        let is_text = modality == Modality::Token;
        let mut writer = PairWriter::create(path, modality, Map::new(), (!is_text).then_some(PIXEL)).unwrap();
        for request in requests {
            let side = |text| GeneratedResult {
                refined: None,
                made: if is_text {
                    NewResult::Response(text)
                } else {
                    NewResult::Image { picture: &picture, latent: &latent }
                },
                seed: 0,
                log_probs: None,
            };
            writer.push(&GeneratedPair { request: request.clone(), a: side("yes"), b: side("no") }).unwrap();
        }
        writer.finish().unwrap();
        PairFolder::open(path).unwrap()
    }

    fn records(folder: &PairFolder) -> Vec<crate::PreferenceRecord> {
        let first = |index| Preference { index, a_is_better: 1.0, labellers: 1 };
        folder.records(&(0..folder.len()).map(first).collect::<Vec<_>>()).unwrap()
    }

    fn latents(path: &Path, captions: &[String]) -> Latents {
        let n = captions.len();
        let contexts = ContextLayout::default();
        let layout = LatentLayout { kind: ImageKind::Captioned, examples: n, shape: PIXEL, contexts };
        let mut writer = LatentWriter::create(path, layout).unwrap();
        (0..n).for_each(|index| writer.write(index, &[0.5; 3], None).unwrap());
        writer.finish(LatentNotes { captions, ..LatentNotes::default() }).unwrap();
        Latents::open(path, ImageKind::Captioned).unwrap()
    }

    #[test]
    fn the_same_pairs_of_texts_hold_out_the_same_prompts_whatever_file_they_are_in() {
        let (prompts, tokenise) = (prompts(), tokenise());
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let line = |prompt: &String| json!({"prompt": prompt, "chosen": "yes", "rejected": "no"});
        json_lines(&path("pairs.jsonl"), prompts.iter().map(line));
        fs::write(path("pairs.parquet"), parquet(&prompts)).unwrap();
        let open = |name: &str| crate::open(&path(name), ReadOptions::default(), &tokenise).unwrap();
        let (lines, table) = (open("pairs.jsonl"), open("pairs.parquet"));
        let made = records(&pair_folder(&path("pairs"), Modality::Token, &prompts));
        let made = Dataset::from_records("pairs", made, &tokenise, OnBad::Fail).unwrap();
        let mut seen = BTreeSet::new();
        for seed in 0..8 {
            let expected = held_out(&lines, seed);
            assert_eq!(held_out(&table, seed), expected);
            assert_eq!(held_out(&made, seed), expected);
            let (rest, asked) =
                hold_out(prompts.iter().map(|prompt| PromptHash::of_plain(prompt)), SHARE, seed).unwrap();
            assert_eq!(asked, expected);
            let of = |rows: &[usize]| rows.iter().map(|&row| &prompts[row]).collect::<BTreeSet<_>>();
            assert!(of(&rest).is_disjoint(&of(&asked)));
            // A quarter of forty, but for half a prompt of two.
            assert!((9..=11).contains(&asked.len()), "{asked:?}");
            seen.insert(asked);
        }
        assert!(seen.len() > 4, "{seen:?}");
    }

    #[test]
    fn the_same_captions_are_held_out_whatever_file_they_are_in() {
        let captions = prompts();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let pairs = pair_folder(&path("pairs"), Modality::Diffusion, &captions);
        let [chosen, rejected] = ["a", "b"].map(|side| format!("pairs/images/00000-{side}.png"));
        let line = |caption: &String| json!({"caption": caption, "chosen": chosen, "rejected": rejected});
        json_lines(&path("pictures.jsonl"), captions.iter().map(line));
        let settings =
            ImageSettings { kind: ImageKind::Pairs, size: 1, preparation: Preparation::default(), flip: None };
        let pictures = images::open(&path("pictures.jsonl"), ReadOptions::default(), settings).unwrap();
        let latents = latents(&path("latents.safetensors"), &captions);
        for seed in 0..8 {
            let (_, expected) =
                hold_out(captions.iter().map(|text| PromptHash::of(&text.as_str().into())), SHARE, seed).unwrap();
            let (_, of_pictures) = pictures.hold_out(SHARE, seed).unwrap();
            let numbers: Vec<usize> = (0..of_pictures.len()).map(|at| of_pictures.pair(at).unwrap().index).collect();
            assert_eq!(numbers, expected);
            let requests = pairs.pairs().iter().map(|pair| PromptHash::of_plain(&pair.request));
            assert_eq!(hold_out(requests, SHARE, seed).unwrap().1, expected);
            let told = (0..captions.len()).map(|index| PromptHash::of_plain(&latents.told(index).unwrap()));
            assert_eq!(hold_out(told, SHARE, seed).unwrap().1, expected);
        }
    }

    #[test]
    fn a_chat_is_the_same_prompt_in_a_folder_of_pairs() {
        let chats = [
            vec![Message::new("user", "say a")],
            vec![Message::new("system", "be kind"), Message::new("user", "say a")],
            vec![Message::new("system", "be"), Message::new("user", "kindsay a")],
        ];
        let chats = chats.map(|messages| Prompt::from(Text::Chat(messages)));
        let requests: Vec<String> = chats.iter().map(|chat| chat.to_json().to_string()).collect();
        let folder = tempfile::tempdir().unwrap();
        let pairs = pair_folder(&folder.path().join("pairs"), Modality::Token, &requests);
        let expected = chats.map(|chat| PromptHash::of(&chat.text));
        let found: Vec<PromptHash> = records(&pairs).iter().map(|record| PromptHash::of(&record.prompt)).collect();
        assert_eq!(found, expected);
        assert_eq!(expected.iter().collect::<BTreeSet<_>>().len(), 3);
    }

    #[test]
    fn the_rule_is_frozen() {
        // A change of these splits everybody's data anew.
        let prompts = (0..40).map(|number| PromptHash::of_plain(&format!("prompt {}", number / 2)));
        let (rest, held_out) = hold_out(prompts, 0.25, 3).unwrap();
        assert_eq!(held_out, [6, 7, 12, 13, 14, 15, 16, 17, 36, 37]);
        assert_eq!(rest.len(), 30);
        let hashes = ["", "a cat"].map(PromptHash::of_plain);
        assert_eq!(hashes, [PromptHash(8_205_744_963_239_430_449), PromptHash(378_820_231_217_878_757)]);
        assert!(hold_out([PromptHash::of_plain("")], 1.5, 0).is_err());
    }
}
