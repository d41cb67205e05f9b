//! Tests of the sources of settings.
use super::{Data, EarlyStoppingName, Sample, SearchMethod, Settings, Values, at, fields};

#[test]
fn later_sources_win_and_a_preset_only_moves_defaults() {
    let mut values = Values::default();
    assert_eq!(values.objective.beta, 0.1);
    values.merge_set("objective.beta=0.3").unwrap();
    values.preset(|settings| {
        settings.objective.beta = 0.7;
        settings.optimizer.lr = 1e-3;
    });
    assert_eq!((values.objective.beta, values.optimizer.lr), (0.3, 1e-3));
    values.reset(&at::objective::beta);
    values.preset(|settings| settings.objective.beta = 0.7);
    assert_eq!(values.objective.beta, 0.7);
}

#[test]
fn a_preset_of_a_step_changes_neither_what_was_given_nor_what_was_determined() {
    let mut values = Values::default();
    // Given, though it is the default.
    values.merge_set("objective.beta=0.1").unwrap();
    values.merge_set("data.limit=7").unwrap();
    values.set(|settings| settings.data.max_length = 64);
    let mut step = values.derived(|settings| Settings {
        sample: Sample { null_share: 0.0, ..settings.sample },
        data: Data { limit: None, ..settings.data },
        ..settings
    });
    step.preset(|settings| {
        settings.objective.beta = 0.7;
        settings.data.max_length = 128;
        settings.sample.null_share = 0.5;
        settings.data.limit = Some(9);
        settings.optimizer.lr = 1e-3;
    });
    assert_eq!((step.objective.beta, step.data.max_length, step.sample.null_share), (0.1, 64, 0.0));
    assert_eq!((step.data.limit, step.optimizer.lr), (Some(9), 1e-3), "these were not given for the step");
    assert!(step.is_given(&at::objective::beta) && !step.is_given(&at::data::limit));
    assert!(!step.is_given(&at::sample::null_share), "what the program determined was not given");
}

#[test]
fn a_setting_that_was_given_without_a_value_stays_without() {
    let mut values = Values::default();
    values.merge_set("model.reference=").unwrap();
    values.preset(|settings| settings.model.reference = Some("other".to_owned()));
    assert_eq!(values.model.reference, None);
}

#[test]
fn an_unknown_key_names_its_neighbour() {
    let error = Values::default().merge_set("train.batchsize=3").unwrap_err().to_string();
    assert!(error.contains("`train.batch_size`"), "{error}");
    let error = Values::default().merge_set("beta=3").unwrap_err().to_string();
    assert!(error.contains("`objective.beta`"), "{error}");
}

#[test]
fn bad_values_name_the_flag_and_what_it_takes() {
    for (set, says) in [
        ("train.batch_size=-1", "`train.batch_size` takes a whole number"),
        ("objective.beta=NaN", "`objective.beta` takes a finite number"),
        ("objective.name=dpx", "`objective.name` takes one of sft, dpo"),
        ("objective.name=sigmoid", "`objective.name` takes no `sigmoid`: here it is dpo"),
        ("objective.name=exo_pair", "`objective.name` takes no `exo_pair`: here it is exo"),
        ("model.rslora=yes", "`model.rslora` takes true or false"),
    ] {
        let error = Values::default().merge_set(set).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_choice_with_true_and_false_among_its_words_takes_them_bare() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let mut values = Values::default();
        values.merge_file(&path).map(|()| values.search.early_stopping)
    };
    assert_eq!(read("[search]\nearly_stopping = true"), Ok(EarlyStoppingName::True));
    assert_eq!(read("[search]\nearly_stopping = 'never'"), Ok(EarlyStoppingName::Never));
    let error = read("[search]\nmethod = true").unwrap_err().to_string();
    assert!(error.contains("key `search.method` can't be boolean"), "{error}");
    assert!(Values::default().merge_set("search.early_stopping=soon").is_err());
}

#[test]
fn texts_keep_their_commas_and_are_given_once_for_each() {
    let mut values = Values::default();
    let texts = ["one, two".to_owned(), "three".to_owned()];
    values.merge_flags(&at::sample::prompt, &texts).unwrap();
    assert_eq!((&values.sample.prompt.0[..], values.is_typed(&at::sample::prompt)), (&texts[..], true));
    values.merge_set("sample.prompt=a, b").unwrap();
    assert_eq!(values.sample.prompt.0, ["a, b"]);
}

#[test]
fn lists_keep_commas_within_a_value_and_may_be_given_once_for_each() {
    let mut values = Values::default();
    values.merge_set("data.template=x=[1,2],y=3").unwrap();
    assert_eq!(values.data.template, ["x=[1,2]", "y=3"]);
    values.merge_flags(&at::data::template, &["x=[1,2]".to_owned(), "y={\"a\":1,\"b\":2}, z=4".to_owned()]).unwrap();
    assert_eq!(values.data.template, ["x=[1,2]", "y={\"a\":1,\"b\":2}", "z=4"]);
    assert!(values.is_typed(&at::data::template));
}

#[test]
fn words_of_searches_are_read_with_dashes_or_underscores() {
    let mut values = Values::default();
    values.merge_set("search.method=best_of").unwrap();
    assert_eq!(values.search.method, SearchMethod::BestOf);
    let error = values.merge_set("search.score=eq12").unwrap_err().to_string();
    assert!(error.contains("`search.score` takes one of likelihood, implicit, ratio"), "{error}");
}

#[test]
fn a_written_config_reads_back_the_same() {
    let mut values = Values::default();
    values.merge_set("model.lora_targets=q_proj,v_proj").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, values.to_toml(fields())).unwrap();
    let mut back = Values::default();
    back.merge_file(&path).unwrap();
    assert_eq!(back.to_toml(fields()), values.to_toml(fields()));
}
