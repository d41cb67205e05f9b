//! TensorBoard event files: scalars, histograms, texts, images.
//!
//! A file is a sequence of records, each `length (u64), masked CRC of the length, bytes, masked CRC of the bytes`; the
//! bytes are protocol buffers of TensorFlow's `event.proto` and `summary.proto`, of which the messages below are the
//! used part. The checksum is CRC-32C, rotated right by 15 and added to 0xa282ead8.
mod hparams;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::TrainError;

pub use self::hparams::Hyperparameter;

/// Writes one event file.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventFile {
    /// Creates a file in `folder`. Events of earlier files from `begins_at` on are purged, so that a resumed or
    /// restarted run draws one line.
    pub fn create(folder: &Path, begins_at: usize) -> Result<Self, TrainError> {
        std::fs::create_dir_all(folder).map_err(TrainError::io(folder))?;
        let seconds = now() as u64;
        let path = (0..100_000)
            .map(|n| folder.join(format!("events.out.tfevents.{seconds:010}.hybrid-dpo.{n}")))
            .find(|path| !path.exists())
            .unwrap_or_else(|| folder.join("events.out.tfevents.0.hybrid-dpo"));
        let file = BufWriter::new(File::create_new(&path).map_err(TrainError::io(&path))?);
        let mut events = Self { path, file };
        events.write(&Event { file_version: Some("brain.Event:2".into()), ..Event::at(0) })?;
        let start = SessionLog { status: SESSION_START };
        events.write(&Event { session_log: Some(start), ..Event::at(begins_at) })?;
        events.flush()?;
        Ok(events)
    }

    /// Adds a number.
    pub fn scalar(&mut self, tag: &str, step: usize, value: f64) -> Result<(), TrainError> {
        self.value(step, Value { simple_value: Some(value as f32), ..Value::of(tag) })
    }

    /// Adds a histogram of `values`, in `n_buckets` equal buckets between their extremes.
    pub fn histogram(&mut self, tag: &str, step: usize, values: &[f64], n_buckets: usize) -> Result<(), TrainError> {
        match Histogram::of(values, n_buckets) {
            Some(histogram) => self.value(step, Value { histogram: Some(histogram), ..Value::of(tag) }),
            None => Ok(()),
        }
    }

    /// Adds a text, shown as Markdown.
    pub fn text(&mut self, tag: &str, step: usize, text: &str) -> Result<(), TrainError> {
        let tensor = TensorProto { dtype: DT_STRING, string_val: vec![text.as_bytes().to_vec()] };
        let metadata = Metadata {
            plugin: Some(PluginData { plugin_name: "text".into(), content: Vec::new() }),
            data_class: DATA_CLASS_TENSOR,
        };
        self.value(step, Value { tensor: Some(tensor), metadata: Some(metadata), ..Value::of(tag) })
    }

    /// Adds the settings of a run, for the table of hyperparameters; `metrics` names the tags to compare runs by.
    ///
    /// They are written as TensorBoard's `hparams` plugin reads them: the experiment's description, and the values at the
    /// start of the session.
    pub fn hyperparameters(
        &mut self,
        settings: &[(String, Hyperparameter)],
        metrics: &[&str],
    ) -> Result<(), TrainError> {
        for data in [hparams::experiment(settings, metrics), hparams::session(settings, now())] {
            let tag = data.tag;
            let plugin = PluginData { plugin_name: "hparams".into(), content: data.content };
            let metadata = Metadata { plugin: Some(plugin), data_class: 0 };
            self.value(0, Value { metadata: Some(metadata), ..Value::of(tag) })?;
        }
        self.flush()
    }

    /// Adds a PNG image of `width` x `height` pixels.
    pub fn image(&mut self, tag: &str, step: usize, size: (u32, u32), png: Vec<u8>) -> Result<(), TrainError> {
        let image = Image { height: size.1 as i32, width: size.0 as i32, colorspace: 3, encoded: png };
        self.value(step, Value { image: Some(image), ..Value::of(tag) })
    }

    /// Flushes to the system.
    pub fn flush(&mut self) -> Result<(), TrainError> {
        self.file.flush().map_err(TrainError::io(&self.path))
    }

    fn value(&mut self, step: usize, value: Value) -> Result<(), TrainError> {
        self.write(&Event { summary: Some(Summary { value: vec![value] }), ..Event::at(step) })
    }

    fn write(&mut self, event: &Event) -> Result<(), TrainError> {
        let record = framed(&event.encode_to_vec());
        self.file.write_all(&record).map_err(TrainError::io(&self.path))
    }
}

const SESSION_START: i32 = 1;
const DT_STRING: i32 = 7;
const DATA_CLASS_TENSOR: i32 = 2;

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length), bytes, &masked_crc(bytes)].concat()
}

fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

impl Event {
    fn at(step: usize) -> Self {
        Self { wall_time: now(), step: step as i64, ..Self::default() }
    }
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
#[expect(clippy::struct_field_names, reason = "the names of the format")]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
    #[prost(message, optional, tag = "5")]
    histogram: Option<Histogram>,
    #[prost(message, optional, tag = "8")]
    tensor: Option<TensorProto>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
}

impl Value {
    fn of(tag: &str) -> Self {
        Self { tag: tag.to_owned(), ..Self::default() }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin: Option<PluginData>,
    #[prost(int32, tag = "4")]
    data_class: i32,
}

#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(string, tag = "1")]
    plugin_name: String,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(bytes, repeated, tag = "8")]
    string_val: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes, tag = "4")]
    encoded: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(double, tag = "1")]
    min: f64,
    #[prost(double, tag = "2")]
    max: f64,
    #[prost(double, tag = "3")]
    num: f64,
    #[prost(double, tag = "4")]
    sum: f64,
    #[prost(double, tag = "5")]
    sum_squares: f64,
    #[prost(double, repeated, tag = "6")]
    bucket_limit: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    bucket: Vec<f64>,
}

impl Histogram {
    fn of(values: &[f64], n_buckets: usize) -> Option<Self> {
        let (min, max) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
        if values.is_empty() || !min.is_finite() || !max.is_finite() {
            return None;
        }
        let width = ((max - min) / n_buckets as f64).max(f64::MIN_POSITIVE);
        let mut bucket = vec![0.0; n_buckets];
        for value in values {
            bucket[(((value - min) / width) as usize).min(n_buckets - 1)] += 1.0;
        }
        Some(Self {
            min,
            max,
            num: values.len() as f64,
            sum: values.iter().sum(),
            sum_squares: values.iter().map(|v| v * v).sum(),
            bucket_limit: (1..=n_buckets).map(|i| min + width * i as f64).collect(),
            bucket,
        })
    }
}

/// The first step whose events are new: a checkpoint's own step was logged before it was saved.
pub(crate) fn begins_at(step: usize) -> usize {
    if step == 0 { 0 } else { step + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_tensorflows() {
        // The length field of a 24-byte record, as any file written by TensorFlow has it.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let framed = framed(b"abc");
        assert_eq!(framed.len(), 8 + 4 + 3 + 4);
        assert_eq!(&framed[..8], 3u64.to_le_bytes());
    }

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(folder.path(), 3).unwrap();
        events.scalar("train/loss", 4, 0.5).unwrap();
        events.histogram("h", 4, &[0.0, 1.0, 1.0, 4.0], 4).unwrap();
        events.text("t", 4, "*hello*").unwrap();
        events.flush().unwrap();
        let bytes = std::fs::read(&events.path).unwrap();
        let (mut at, mut read) = (0, Vec::new());
        while at < bytes.len() {
            let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
            read.push(Event::decode(&bytes[at + 12..at + 12 + length]).unwrap());
            at += 16 + length;
        }
        assert_eq!(read.len(), 5);
        // Readers forget what earlier files have from this step on, and keep what they have before it.
        assert_eq!((read[1].step, read[1].session_log.as_ref().unwrap().status), (3, SESSION_START));
        assert_eq!(read[0].file_version.as_deref(), Some("brain.Event:2"));
        assert_eq!(read[2].summary.as_ref().unwrap().value[0].simple_value, Some(0.5));
        let histogram = read[3].summary.as_ref().unwrap().value[0].histogram.clone().unwrap();
        assert_eq!(histogram.bucket, [1.0, 2.0, 0.0, 1.0]);
    }

    #[test]
    fn two_files_of_one_second_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let first = EventFile::create(folder.path(), 0).unwrap();
        let second = EventFile::create(folder.path(), 0).unwrap();
        assert_ne!(first.path, second.path);
    }

    #[test]
    fn events_of_the_checkpoints_own_step_stay() {
        assert_eq!([0, 1, 30].map(begins_at), [0, 2, 31]);
    }
}
