//! Messages of TensorBoard's `hparams` plugin, the used part of its `plugin_data.proto` and `api.proto`.
use std::collections::BTreeMap;

use prost::Message;

/// The value of a hyperparameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Hyperparameter {
    /// A number.
    Number(f64),
    /// A word.
    Text(String),
    /// A switch.
    Switch(bool),
}

/// An entry of the plugin: its tag and its message.
pub(super) struct Entry {
    pub(super) tag: &'static str,
    pub(super) content: Vec<u8>,
}

/// The names and types of the settings, and the metrics to compare runs by.
pub(super) fn experiment(settings: &[(String, Hyperparameter)], metrics: &[&str]) -> Entry {
    let info = |(name, value): &(String, Hyperparameter)| HParamInfo {
        name: name.clone(),
        kind: match value {
            Hyperparameter::Text(_) => 1,
            Hyperparameter::Switch(_) => 2,
            Hyperparameter::Number(_) => 3,
        },
    };
    let metric = |tag: &&str| MetricInfo { name: Some(MetricName { group: String::new(), tag: (*tag).to_owned() }) };
    let experiment = Experiment {
        hparam_infos: settings.iter().map(info).collect(),
        metric_infos: metrics.iter().map(metric).collect(),
    };
    let content = HParamsPluginData { version: 0, experiment: Some(experiment), session_start_info: None };
    Entry { tag: "_hparams_/experiment", content: content.encode_to_vec() }
}

/// The values of the settings in a session that starts now.
pub(super) fn session(settings: &[(String, Hyperparameter)], seconds: f64) -> Entry {
    let hparams = settings.iter().map(|(name, value)| (name.clone(), ProtobufValue::of(value))).collect();
    let start = SessionStartInfo { hparams, start_time_secs: seconds };
    let content = HParamsPluginData { version: 0, experiment: None, session_start_info: Some(start) };
    Entry { tag: "_hparams_/session_start_info", content: content.encode_to_vec() }
}

#[derive(Clone, PartialEq, Message)]
struct HParamsPluginData {
    #[prost(int32, tag = "1")]
    version: i32,
    #[prost(message, optional, tag = "2")]
    experiment: Option<Experiment>,
    #[prost(message, optional, tag = "3")]
    session_start_info: Option<SessionStartInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct Experiment {
    #[prost(message, repeated, tag = "4")]
    hparam_infos: Vec<HParamInfo>,
    #[prost(message, repeated, tag = "5")]
    metric_infos: Vec<MetricInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct HParamInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "4")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct MetricInfo {
    #[prost(message, optional, tag = "1")]
    name: Option<MetricName>,
}

#[derive(Clone, PartialEq, Message)]
struct MetricName {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(string, tag = "2")]
    tag: String,
}

#[derive(Clone, PartialEq, Message)]
struct SessionStartInfo {
    #[prost(btree_map = "string, message", tag = "1")]
    hparams: BTreeMap<String, ProtobufValue>,
    #[prost(double, tag = "5")]
    start_time_secs: f64,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
struct ProtobufValue {
    #[prost(double, optional, tag = "2")]
    number: Option<f64>,
    #[prost(string, optional, tag = "3")]
    text: Option<String>,
    #[prost(bool, optional, tag = "4")]
    switch: Option<bool>,
}

impl ProtobufValue {
    fn of(value: &Hyperparameter) -> Self {
        match value {
            Hyperparameter::Number(number) => Self { number: Some(*number), ..Self::default() },
            Hyperparameter::Text(text) => Self { text: Some(text.clone()), ..Self::default() },
            Hyperparameter::Switch(switch) => Self { switch: Some(*switch), ..Self::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_with_their_types() {
        let settings = [
            ("objective.beta".to_owned(), Hyperparameter::Number(0.1)),
            ("objective.name".to_owned(), Hyperparameter::Text("dpo".to_owned())),
            ("model.rslora".to_owned(), Hyperparameter::Switch(false)),
        ];
        let read = |entry: Entry| HParamsPluginData::decode(&entry.content[..]).unwrap();
        let experiment = read(experiment(&settings, &["eval/loss"])).experiment.unwrap();
        assert_eq!(experiment.hparam_infos.iter().map(|info| info.kind).collect::<Vec<_>>(), [3, 1, 2]);
        assert_eq!(experiment.metric_infos[0].name.as_ref().unwrap().tag, "eval/loss");
        let start = read(session(&settings, 7.0)).session_start_info.unwrap();
        assert_eq!(start.hparams["objective.beta"].number, Some(0.1));
        assert_eq!(start.hparams["objective.name"].text.as_deref(), Some("dpo"));
        assert_eq!((start.hparams["model.rslora"].switch, start.start_time_secs), (Some(false), 7.0));
    }
}
