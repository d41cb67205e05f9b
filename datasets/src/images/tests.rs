//! Files of pictures, good and bad.

use std::fs;
use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use serde_json::{Value, json};

use super::*;
use crate::column_map::ColumnMap;
use crate::error::DatasetError;
use crate::records::ReadOptions;
use crate::skipped::OnBad;
use crate::synthetic::Split;
use crate::synthetic::shapes::ShapesProblem;
use crate::test_data;

fn skip() -> ReadOptions {
    ReadOptions { on_bad: OnBad::Skip, ..ReadOptions::default() }
}

pub(super) fn settings(kind: ImageKind) -> ImageSettings {
    ImageSettings { kind, size: 8, preparation: Preparation::default(), flip: None }
}

/// A picture of one colour, left half darker.
fn picture(red: u8, width: u32, height: u32) -> Vec<u8> {
    let image = RgbImage::from_fn(width, height, |x, _| Rgb([red, 0, if x * 2 < width { 0 } else { 255 }]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// `lines` as `data.jsonl` in a folder with the pictures `0.png` to `9.png`, whose red is ten times their number.
pub(super) fn folder(lines: &[Value]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("images")).unwrap();
    for red in 0..10 {
        fs::write(folder.path().join(format!("images/{red}.png")), picture(red * 10, 8, 8)).unwrap();
    }
    let text: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(folder.path().join("data.jsonl"), text.concat()).unwrap();
    folder
}

pub(super) fn line(caption: &str, chosen: u8, rejected: u8) -> Value {
    json!({"prompt": caption, "chosen": format!("images/{chosen}.png"), "rejected": format!("images/{rejected}.png")})
}

pub(super) fn red(pixels: &Pixels) -> u8 {
    pixels.to_rgb8().as_raw()[0]
}

#[test]
fn lines_of_paths_are_read_in_order() {
    let folder = folder(&[line("a", 1, 2), line("b", 3, 4), line("", 5, 5)]);
    let path = folder.path().join("data.jsonl");
    let data = open(&path, ReadOptions::default(), settings(ImageKind::Pairs)).unwrap();
    let reds: Vec<(usize, String, u8, u8)> = (0..data.len())
        .map(|index| data.pair(index).unwrap())
        .map(|pair| (pair.index, pair.caption, red(&pair.chosen), red(&pair.rejected)))
        .collect();
    assert_eq!(reds, [(0, "a".into(), 10, 20), (1, "b".into(), 30, 40), (2, String::new(), 50, 50)]);
    assert_eq!(red(&data.captioned(1).unwrap().image), 30);
    assert_eq!(data.caption(1).unwrap(), "b");
    assert!(matches!(data.pair(3), Err(DatasetError::OutOfRange { index: 3, len: 3 })));
    let audit = data.audit();
    assert_eq!((audit.pairs, audit.identical_pairs, audit.empty_captions, audit.sizes["8x8"]), (3, 1, 1, 6));
    let text = audit.to_string();
    assert!(text.starts_with("3 examples: 3 pairs\nsizes: 8x8 (6); used as 8x8\n"), "{text}");
    assert!(text.contains("1 captions without a letter"), "{text}");
}

#[test]
fn packed_lines_single_pictures_and_limits() {
    let mut lines = vec![json!({"caption": "one", "image": "images/7.png"}), line("two", 1, 2)];
    lines.extend((0..200).map(|_| line("more", 1, 2)));
    let folder = folder(&lines);
    let packed = folder.path().join("data.jsonl.gz");
    fs::write(&packed, test_data::gzip(&fs::read(folder.path().join("data.jsonl")).unwrap())).unwrap();
    let reading = ReadOptions { limit: Some(131), ..ReadOptions::default() };
    let data = open(&packed, reading.clone(), settings(ImageKind::Captioned)).unwrap();
    assert_eq!((data.len(), data.audit().captioned), (131, 131));
    assert_eq!([0, 1].map(|index| red(&data.captioned(index).unwrap().image)), [70, 10]);
    assert!(matches!(data.pair(0), Err(DatasetError::MissingField { .. })));
    let error = open(&packed, reading, settings(ImageKind::Pairs)).unwrap_err().to_string();
    assert!(error.ends_with("line 1: field `chosen` is missing (found: caption, image)"), "{error}");
}

#[test]
fn bad_pictures_are_named_or_counted() {
    let folder = folder(&[line("a", 1, 2), line("b", 1, 3), line("c", 4, 5)]);
    let path = folder.path().join("data.jsonl");
    let bytes = picture(30, 8, 8);
    for (bad, what) in [
        (Some(&bytes[..bytes.len() / 2]), "is cut off"),
        (Some(&b"<svg></svg>"[..]), "is of no known kind"),
        (Some(&[][..]), "has no bytes"),
        (None, "cannot be read"),
    ] {
        let file = folder.path().join("images/3.png");
        match bad {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let error = open(&path, ReadOptions::default(), settings(ImageKind::Pairs)).unwrap_err().to_string();
        assert!(error.contains("data.jsonl, line 2: the picture ") && error.contains("3.png"), "{error}");
        assert!(error.contains(what), "{error}");
        let data = open(&path, skip(), settings(ImageKind::Pairs)).unwrap();
        assert_eq!((data.len(), data.audit().skipped.count), (2, 1));
        assert_eq!((data.pair(1).unwrap().index, data.pair(1).unwrap().caption.as_str()), (1, "c"));
    }
    fs::write(&path, "{\"prompt\": \"a\", \"chosen\": 1, \"rejected\": 2}\n").unwrap();
    let error = open(&path, skip(), settings(ImageKind::Pairs)).unwrap_err().to_string();
    assert!(error.contains("all 1 records are broken") && error.contains("a picture (a path, or bytes)"), "{error}");
    fs::write(&path, "{\"text\": \"a\"}\n").unwrap();
    let error = open(&path, skip(), settings(ImageKind::Pairs)).unwrap_err().to_string();
    assert!(error.contains("no known format has the fields text"), "{error}");
    let none = ImageSettings { size: 0, ..settings(ImageKind::Pairs) };
    assert!(matches!(open(&path, skip(), none), Err(DatasetError::Setting { .. })));
}

/// Caption, reds of the pictures, label.
type Row = (&'static str, Option<u8>, Option<u8>, Option<f64>);

/// Rows of caption, the red of either picture (none: no bytes), and the label of the first.
fn pick_a_pic(rows: &[Row], is_group: bool) -> Vec<u8> {
    let side = |name: &str| {
        if is_group {
            format!("optional group {name} {{ optional binary bytes; optional binary path (UTF8); }}")
        } else {
            format!("optional binary {name};")
        }
    };
    let schema = format!(
        "message rows {{ required binary caption (UTF8); {} {} optional double label_0; }}",
        side("jpg_0"),
        side("jpg_1")
    );
    test_data::write(&schema, |writer| {
        let mut group = writer.next_row_group().unwrap();
        let mut bytes = |values: &[Option<Vec<u8>>], level: i16| {
            let there: Vec<ByteArray> = values.iter().flatten().map(|bytes| ByteArray::from(bytes.clone())).collect();
            let levels: Vec<i16> =
                values.iter().map(|value| if value.is_some() { level } else { (level - 1).max(0) }).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&there, (level > 0).then_some(&levels[..]), None).unwrap();
            column.close().unwrap();
        };
        bytes(&rows.iter().map(|row| Some(row.0.as_bytes().to_vec())).collect::<Vec<_>>(), 0);
        for side in [|row: &Row| row.1, |row: &Row| row.2] {
            let pictures: Vec<_> = rows.iter().map(|row| side(row).map(|red| picture(red, 12, 8))).collect();
            bytes(&pictures, 1 + i16::from(is_group));
            if is_group {
                bytes(&vec![None; rows.len()], 2);
            }
        }
        let labels: Vec<f64> = rows.iter().filter_map(|row| row.3).collect();
        let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.3.is_some())).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<DoubleType>().write_batch(&labels, Some(&levels), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    })
}

#[test]
fn pick_a_pic_drops_ties_and_what_is_missing() {
    let rows = [
        ("a", Some(1), Some(2), Some(1.0)),
        ("b", Some(3), Some(4), Some(0.0)),
        ("c", Some(3), Some(4), Some(0.5)),
        ("d", Some(3), Some(4), None),
        ("e", None, Some(4), Some(1.0)),
        ("f", Some(5), Some(6), Some(1.0)),
    ];
    for is_group in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        for shard in 0..2 {
            let path = folder.path().join(format!("train-0000{shard}.parquet"));
            fs::write(path, pick_a_pic(&rows, is_group)).unwrap();
        }
        let data = open(folder.path(), ReadOptions::default(), settings(ImageKind::Pairs)).unwrap();
        let pairs: Vec<ImagePair> = (0..data.len()).map(|index| data.pair(index).unwrap()).collect();
        let found: Vec<_> = pairs.iter().map(|pair| (&*pair.caption, red(&pair.chosen), red(&pair.rejected))).collect();
        assert_eq!(found, [("a", 1, 2), ("b", 4, 3), ("f", 5, 6), ("a", 1, 2), ("b", 4, 3), ("f", 5, 6)]);
        let audit = data.audit();
        assert_eq!((audit.pairs, audit.ties, audit.unlabelled, audit.missing), (6, 2, 2, 2));
        assert_eq!((audit.cropped, audit.sizes["12x8"]), (12, 12));
        let captioned = open(folder.path(), ReadOptions::default(), settings(ImageKind::Captioned)).unwrap();
        assert_eq!((captioned.len(), red(&captioned.captioned(1).unwrap().image)), (6, 4));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    fs::write(&path, pick_a_pic(&[("a", Some(1), Some(2), Some(0.7))], false)).unwrap();
    let error = open(&path, ReadOptions::default(), settings(ImageKind::Pairs)).unwrap_err().to_string();
    assert!(error.ends_with("row 1: field `label_0` should be 1, 0 or 0.5, but is 0.7"), "{error}");
}

#[test]
fn flips_are_drawn_by_example_and_take_both_sides() {
    let folder = folder(&vec![line("a", 1, 2); 60]);
    let sides = PairFlip::Together;
    let open_with = |flip: Option<u64>| {
        let flip = flip.map(|seed| Mirror { seed, sides });
        let flipped = ImageSettings { flip, ..settings(ImageKind::Pairs) };
        open(&folder.path().join("data.jsonl"), ReadOptions::default(), flipped).unwrap()
    };
    let is_flipped = |pixels: &Pixels| pixels.values()[2] > 0.0;
    let flips = |data: &ImageDataset| -> Vec<bool> {
        let pairs = (0..data.len()).map(|index| data.pair(index).unwrap());
        pairs.map(|pair| (is_flipped(&pair.chosen), is_flipped(&pair.rejected))).map(|(a, b)| a && a == b).collect()
    };
    let (plain, first, second) = (open_with(None), open_with(Some(0)), open_with(Some(1)));
    assert!(flips(&plain).iter().all(|flip| !flip));
    assert_eq!(flips(&first), flips(&open_with(Some(0))));
    assert_ne!(flips(&first), flips(&second));
    assert!((15..=45).contains(&flips(&first).iter().filter(|flip| **flip).count()));
    // An example is flipped or not wherever it stands.
    let selected = first.select(&[7, 3]).unwrap();
    assert_eq!(flips(&selected), [flips(&first)[7], flips(&first)[3]]);
    let prints = [plain, first, second, selected].map(|data| data.fingerprint());
    assert!((0..4).all(|at| (0..at).all(|other| prints[at] != prints[other])));
}

#[test]
fn sides_are_flipped_apart_where_that_is_wanted() {
    let folder = folder(&vec![line("a", 1, 2); 60]);
    let flip = Some(Mirror { seed: 0, sides: PairFlip::Apart });
    let settings = ImageSettings { flip, ..settings(ImageKind::Pairs) };
    let data = open(&folder.path().join("data.jsonl"), ReadOptions::default(), settings).unwrap();
    let is_flipped = |pixels: &Pixels| pixels.values()[2] > 0.0;
    let mut counts = [[0; 2]; 2];
    for pair in (0..data.len()).map(|index| data.pair(index).unwrap()) {
        counts[usize::from(is_flipped(&pair.chosen))][usize::from(is_flipped(&pair.rejected))] += 1;
    }
    // A quarter of 60 each, with a standard deviation of 3.4.
    assert!(counts.as_flattened().iter().all(|count| (5..=25).contains(count)), "{counts:?}");
}

#[test]
fn hostile_pictures_are_refused_before_they_take_memory() {
    let folder = folder(&[line("a", 1, 2), line("b", 1, 3), line("c", 4, 5)]);
    let path = folder.path().join("data.jsonl");
    for (bytes, says) in [
        (claiming(60_000, 60_000), "is too large: 60000 x 60000 pixels"),
        (claiming(1 << 31, (1 << 31) - 1), "is too large"),
        (claiming((1 << 31) - 1, (1 << 31) - 1), "is too large"),
        (claiming(89_478_486, 1), "is too large"),
        (claiming(0, 5), "cannot be decoded"),
        (claiming(9000, 9000), "cannot be decoded"),
    ] {
        fs::write(folder.path().join("images/3.png"), bytes).unwrap();
        let error = open(&path, ReadOptions::default(), settings(ImageKind::Pairs)).unwrap_err().to_string();
        assert!(error.contains("data.jsonl, line 2: the picture ") && error.contains("3.png"), "{error}");
        assert!(error.contains(says), "{error}");
        let data = open(&path, skip(), settings(ImageKind::Pairs)).unwrap();
        assert_eq!((data.len(), data.audit().skipped.count), (2, 1));
    }
    fs::write(folder.path().join("images/3.png"), picture(30, 60_000, 1)).unwrap();
    let wide = ImageSettings { size: 512, ..settings(ImageKind::Pairs) };
    let data = open(&path, ReadOptions::default(), wide).unwrap();
    assert_eq!(data.pair(1).unwrap().rejected.values().len(), 512 * 512 * 3);
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let folder = folder(&[json!({"prompt": "a", "image": "images"}), json!({"prompt": "a", "image": "/dev/zero"})]);
    let error =
        open(&folder.path().join("data.jsonl"), skip(), settings(ImageKind::Captioned)).unwrap_err().to_string();
    assert!(error.contains("all 2 records are broken") && error.contains("it is no file"), "{error}");
}

/// A PNG whose header claims this size, with next to nothing behind it.
fn claiming(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let data = [0x78, 0x9c, 0x63, 0x00, 0x00, 0x00, 0x01, 0x00, 0x01];
    for (kind, content) in [(b"IHDR", &header[..]), (b"IDAT", &data), (b"IEND", &[])] {
        bytes.extend((content.len() as u32).to_be_bytes());
        let body = [&kind[..], content].concat();
        bytes.extend(&body);
        bytes.extend(checksum(&body).to_be_bytes());
    }
    bytes
}

/// CRC-32, bit by bit.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { 0xedb8_8320 ^ (sum >> 1) } else { sum >> 1 })
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[test]
fn the_fingerprint_follows_what_is_read() {
    let folder = folder(&[line("a", 1, 2), line("b", 3, 4)]);
    let path = folder.path().join("data.jsonl");
    let print = |size| {
        let settings = ImageSettings { size, ..settings(ImageKind::Pairs) };
        open(&path, ReadOptions::default(), settings).unwrap().fingerprint()
    };
    let before = print(8);
    assert_eq!(print(8), before);
    assert_ne!(print(9), before);
    fs::write(folder.path().join("images/4.png"), picture(99, 8, 8)).unwrap();
    let other = print(8);
    assert_ne!(other, before);
    fs::write(folder.path().join("images/4.png"), picture(40, 8, 8)).unwrap();
    assert_eq!(print(8), before);
}

#[test]
fn captions_are_held_out_whole() {
    let lines: Vec<Value> = (0..90).map(|at| line(&format!("caption {}", at / 3), 1, 2)).collect();
    let folder = folder(&lines);
    let data = open(&folder.path().join("data.jsonl"), ReadOptions::default(), settings(ImageKind::Pairs)).unwrap();
    let (train, test) = data.hold_out(0.2, 0).unwrap();
    assert_eq!((train.len(), test.len()), (72, 18));
    let captions = |data: &ImageDataset| -> std::collections::BTreeSet<String> {
        (0..data.len()).map(|index| data.caption(index).unwrap()).collect()
    };
    assert!(captions(&train).is_disjoint(&captions(&test)));
    assert!(data.hold_out(1.5, 0).is_err());
}

#[test]
fn made_pictures_come_out_as_they_went_in() {
    let problem = ShapesProblem::new(0);
    let data = ImageDataset::from_pairs("builtin:shapes", problem.pairs(Split::Train, 20)).unwrap();
    for (index, pair) in problem.pairs(Split::Train, 20).enumerate() {
        assert_eq!(data.pair(index).unwrap(), pair);
    }
    let shown = ImageDataset::from_captioned("builtin:shapes", problem.demonstrations(Split::Train, 5)).unwrap();
    assert_eq!(Some(shown.captioned(4).unwrap()), problem.demonstrations(Split::Train, 5).last());
    assert_eq!((shown.settings().size, shown.audit().captioned, data.audit().pairs), (16, 5, 20));
    assert!(matches!(ImageDataset::from_pairs("none", []), Err(DatasetError::Empty { .. })));
    let wide = CaptionedImage { index: 0, caption: "wide".into(), image: Pixels::from_fn(2, 3, |_, _, _| 0.0) };
    assert!(matches!(ImageDataset::from_captioned("wide", [wide]), Err(DatasetError::Setting { .. })));
}

/// As `datasets` names the columns of an imagefolder.
#[test]
fn an_imagefolder_is_read_by_its_metadata() {
    let scene = folder(&[]);
    fs::remove_file(scene.path().join("data.jsonl")).unwrap();
    let metadata = scene.path().join("images/metadata.jsonl");
    fs::write(&metadata, "{\"file_name\":\"7.png\",\"text\":\"one\"}\n").unwrap();
    let data = open(scene.path(), ReadOptions::default(), settings(ImageKind::Captioned)).unwrap();
    assert_eq!((red(&data.captioned(0).unwrap().image), data.caption(0).unwrap().as_str()), (70, "one"));
    fs::write(&metadata, "{\"chosen_file_name\":\"1.png\",\"rejected_file_name\":\"2.png\",\"text\":\"two\"}\n")
        .unwrap();
    let pair = open(&metadata, ReadOptions::default(), settings(ImageKind::Pairs)).unwrap().pair(0).unwrap();
    assert_eq!((red(&pair.chosen), red(&pair.rejected)), (10, 20));
    // Another column may be the caption, and a table the metadata.
    fs::remove_file(metadata).unwrap();
    fs::write(scene.path().join("images/metadata.csv"), "file_name,alt\n3.png,three\n").unwrap();
    let columns = ColumnMap::parse(&["alt=text".to_owned()]).unwrap();
    let reading = ReadOptions { columns, ..ReadOptions::default() };
    let data = open(scene.path(), reading, settings(ImageKind::Captioned)).unwrap();
    assert_eq!((red(&data.captioned(0).unwrap().image), data.caption(0).unwrap().as_str()), (30, "three"));
}
