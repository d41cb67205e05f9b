//! Words of choices.
use datasets::pairs::Modality;
use toml::Value;
use train::Decay;

use super::choices::{DECAYS, MODALITIES};
use super::setting::Setting;

#[test]
fn modalities_have_their_names() {
    assert_eq!(Modality::ALL.map(Modality::name)[..], *MODALITIES);
}

#[test]
fn decays_have_their_words() {
    let words = [Decay::Constant, Decay::Linear, Decay::Cosine].map(|decay| decay.to_value().unwrap());
    assert_eq!(words.each_ref().map(|word| word.as_str().unwrap())[..], *DECAYS);
    assert_eq!(words.map(|word| Decay::from_value(&word).unwrap()), [Decay::Constant, Decay::Linear, Decay::Cosine]);
    assert!(Decay::from_value(&Value::String("none".to_owned())).is_none());
}
