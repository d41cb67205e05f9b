//! Downloads from a server on this machine.
mod server;

use std::fs;
use std::path::Path;
use std::time::Duration;

use self::server::{COMMIT, Fault, Server};
use crate::download::checksum;
use crate::{Cache, Hub, HubError, Kind, Name, Progress, Snapshot, Token, Unseen};

/// The weights of the tests' model; not all bytes are alike, so that a wrong range is seen.
fn weights() -> Vec<u8> {
    (0..200_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect()
}

/// A hub with a model, the server of its weights, and a client with an empty cache.
struct Scene {
    hub: Server,
    elsewhere: Server,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let elsewhere = Server::of_files(vec![("/model.safetensors".to_owned(), weights())]);
        let files: [(&str, &[u8]); 5] = [
            ("README.md", b"---\nlicense: mit\n---\n"),
            ("config.json", b"{}"),
            ("model.safetensors", &weights()),
            ("pytorch_model.bin", b"pickle"),
            ("tokenizer.json", b"{\"a\": 1}"),
        ];
        let hub = Server::hub("org/name", &files, &elsewhere.address);
        Self { hub, elsewhere, folder: tempfile::tempdir().unwrap() }
    }

    fn client(&self) -> Hub {
        let token = Token::new("hf_secret");
        Hub {
            endpoint: self.hub.address.clone(),
            token,
            pause: Duration::ZERO,
            ..Hub::new(Cache::new(self.folder.path()))
        }
    }

    fn get(&self, text: &str) -> Result<Snapshot, HubError> {
        self.client().get(&Name::parse(Kind::Model, text).unwrap(), &mut Unseen)
    }

    fn blob(&self, expected: &str, bytes: &[u8], ending: &str) -> std::path::PathBuf {
        self.folder.path().join("models--org--name/blobs").join(format!("{}{ending}", checksum(expected, bytes)))
    }
}

const SHA256: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn what_is_needed_arrives_once_in_the_layout_of_huggingface_hub() {
    let scene = Scene::new();
    let found = scene.get("org/name").unwrap();
    assert_eq!(found.commit, COMMIT);
    let mut names: Vec<String> =
        fs::read_dir(found.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["README.md", "config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(fs::read(found.path().join("model.safetensors")).unwrap(), weights());
    let link = fs::read_link(found.path().join("model.safetensors")).unwrap();
    assert_eq!(link, Path::new("../../blobs").join(checksum(SHA256, &weights())));
    let repository = scene.folder.path().join("models--org--name");
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(Name::of_path(&found.path()).unwrap().to_string(), format!("org/name@{COMMIT}"));
    // The token goes to the hub, and not to where the hub sends us.
    assert!(scene.hub.asked().iter().all(|asked| asked.authorization.as_deref() == Some("Bearer hf_secret")));
    assert!(scene.elsewhere.asked().iter().all(|asked| asked.authorization.is_none()));
    // What is there is not asked for again, with and without a network.
    let asked = scene.hub.asked().len();
    assert_eq!(scene.get("org/name").unwrap(), found);
    let offline = Hub { is_offline: true, ..scene.client() };
    assert_eq!(offline.get(&found.name, &mut Unseen).unwrap(), found);
    assert_eq!(scene.hub.asked().len(), asked);
}

#[test]
fn a_cut_connection_goes_on_where_it_ended() {
    let scene = Scene::new();
    scene
        .elsewhere
        .will("model", Fault::Cut(300_000))
        .will("model", Fault::Cut(1))
        .will("model", Fault::Status(503, &[]));
    let found = scene.get("org/name").unwrap();
    assert_eq!(fs::read(found.path().join("model.safetensors")).unwrap(), weights());
    let from: Vec<Option<usize>> = scene.elsewhere.asked().iter().map(|asked| asked.from).collect();
    assert_eq!(from, [None, Some(300_000), Some(300_001), Some(300_001)]);
}

#[test]
fn an_ended_download_loses_nothing_and_shows_nothing_half_done() {
    let scene = Scene::new();
    scene.elsewhere.will("model", Fault::Cut(300_000));
    for _ in 0..5 {
        scene.elsewhere.will("model", Fault::Status(503, &[("retry-after", "30")]));
    }
    let error = scene.get("org/name").unwrap_err().to_string();
    assert!(error.contains("status 503") && error.contains("what has arrived is kept"), "{error}");
    let part = scene.blob(SHA256, &weights(), ".incomplete");
    assert_eq!(fs::metadata(&part).unwrap().len(), 300_000);
    let cache = Cache::new(scene.folder.path());
    assert_eq!(cache.find(&Name::parse(Kind::Model, "org/name").unwrap()), None);
    scene.get("org/name").unwrap();
    assert_eq!(scene.elsewhere.asked().last().unwrap().from, Some(300_000));
    assert!(!part.exists());
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let scene = Scene::new();
    scene.elsewhere.will("model", Fault::Cut(1000)).will("model", Fault::Whole);
    let found = scene.get("org/name").unwrap();
    assert_eq!(fs::read(found.path().join("model.safetensors")).unwrap(), weights());
}

#[test]
fn damage_is_found_by_the_checksum() {
    let scene = Scene::new();
    scene.hub.will("resolve", Fault::Damage);
    scene.elsewhere.will("model", Fault::Damage);
    let found = scene.get("org/name").unwrap();
    assert_eq!(fs::read(found.path().join("model.safetensors")).unwrap(), weights());

    let scene = Scene::new();
    scene.elsewhere.will("model", Fault::Damage).will("model", Fault::Damage);
    let error = scene.get("org/name").unwrap_err();
    assert!(matches!(&error, HubError::Damaged { file, .. } if file == "model.safetensors"), "{error}");
    for ending in ["", ".incomplete"] {
        assert!(!scene.blob(SHA256, &weights(), ending).exists(), "{ending}");
    }
}

#[test]
fn what_the_hub_does_not_give_is_explained() {
    const GATED: &[(&str, &str)] = &[("x-error-code", "GatedRepo"), ("x-error-message", "gated hf_secret")];
    let scene = Scene::new();
    let says = |text: &str, words: &[&str]| {
        let error = scene.get(text).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{error} does not say {word}");
        }
        assert!(!error.contains("hf_secret"), "{error}");
    };
    scene.hub.will("revision", Fault::Status(403, GATED));
    says("org/name", &["gated: accept its conditions at http://127.0.0.1", "/org/name with the account of the token"]);
    scene.hub.will("revision", Fault::Status(401, &[("x-error-message", "Invalid hf_secret")]));
    says("org/name", &["does not accept the token for it (Invalid [token])", "hf auth login"]);
    scene.hub.will("revision", Fault::Status(404, &[("x-error-code", "RevisionNotFound")]));
    says("org/name@v9", &["has no revision v9"]);
    for _ in 0..5 {
        scene.hub.will("revision", Fault::Status(503, &[]));
    }
    says("org/name", &["status 503; given up after 5 tries"]);
    says(
        "org/name/missing.gguf",
        &["the repository has no missing.gguf", "it has model.safetensors, pytorch_model.bin"],
    );
    scene.get("org/name").unwrap();
    says(
        "org/nam",
        &["has no model of that name, or shows it to nobody without the right token; in the cache are org/name"],
    );
    let hub = Hub { token: None, cache: Cache::new(scene.folder.path().join("other")), ..scene.client() };
    scene.hub.will("revision", Fault::Status(401, GATED));
    let error = hub.get(&Name::parse(Kind::Model, "org/name").unwrap(), &mut Unseen).unwrap_err().to_string();
    assert!(error.contains("a token of that account is needed (give one in HF_TOKEN"), "{error}");
}

#[test]
fn without_a_network_the_cache_is_all_there_is() {
    let scene = Scene::new();
    let found = scene.get("org/name").unwrap();
    let offline = Hub { is_offline: true, ..scene.client() };
    let says = |kind, text: &str, words: &[&str]| {
        let error = offline.get(&Name::parse(kind, text).unwrap(), &mut Unseen).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{error} does not say {word}");
        }
    };
    says(Kind::Model, "org/other", &["no model of that name", "HF_HUB_OFFLINE is set; the cache has org/name"]);
    says(Kind::Dataset, "org/name", &["no data set of that name, and the hub is not asked, for HF_HUB_OFFLINE is set"]);
    fs::remove_file(scene.blob(SHA256, &weights(), "")).unwrap();
    says(Kind::Model, "org/name", &["its copy in the cache", "lacks weights (safetensors)"]);
    // With one, what is missing comes back.
    assert_eq!(scene.get("org/name").unwrap(), found);
    assert_eq!(fs::read(found.path().join("model.safetensors")).unwrap(), weights());
}

#[test]
fn a_model_without_tokenizer_is_asked_about_once() {
    let files: [(&str, &[u8]); 2] = [("config.json", b"{}"), ("model.safetensors", b"1234")];
    let elsewhere = Server::of_files(vec![("/model.safetensors".to_owned(), b"1234".to_vec())]);
    let hub = Server::hub("org/name", &files, &elsewhere.address);
    let scene = Scene { hub, elsewhere, folder: tempfile::tempdir().unwrap() };
    // A copy that another program has made, without keeping the list of files.
    let found = scene.get("org/name").unwrap();
    fs::remove_dir_all(scene.folder.path().join("models--org--name/.hybrid-dpo")).unwrap();
    let asked = scene.hub.asked().len();
    assert_eq!(scene.get("org/name").unwrap(), found);
    assert_eq!(scene.hub.asked().len(), asked + 1);
    scene.get("org/name").unwrap();
    assert_eq!(scene.hub.asked().len(), asked + 1);
}

#[test]
fn a_data_set_is_its_records_and_progress_counts_bytes() {
    #[derive(Default)]
    struct Seen(Vec<String>);
    impl Progress for Seen {
        fn begins(&mut self, name: &Name, _: &str, files: usize, (arrived, bytes): (u64, u64)) {
            self.0.push(format!("{name}: {files} files, {arrived} of {bytes}"));
        }
        fn arrived(&mut self, bytes: u64) {
            self.0.push(bytes.to_string());
        }
        fn ends(&mut self) {
            self.0.push("end".to_owned());
        }
        fn notice(&mut self, line: &str) {
            self.0.push(line.to_owned());
        }
    }
    let files: [(&str, &[u8]); 3] =
        [("data/train.jsonl", b"{}\n"), ("load.py", b"x"), ("more/test.jsonl", b"{}\n{}\n")];
    let hub = Server::hub("org/data", &files, "http://127.0.0.1:1");
    let folder = tempfile::tempdir().unwrap();
    let client = Hub { endpoint: hub.address.clone(), pause: Duration::ZERO, ..Hub::new(Cache::new(folder.path())) };
    let mut seen = Seen::default();
    let found = client.get(&Name::parse(Kind::Dataset, "org/data").unwrap(), &mut seen).unwrap();
    assert_eq!(seen.0, ["org/data: 2 files, 0 of 9", "3", "9", "end"]);
    let link = fs::read_link(found.path().join("data/train.jsonl")).unwrap();
    assert!(link.starts_with("../../../blobs") && found.path().ends_with(COMMIT), "{}", link.display());
    assert!(folder.path().join("datasets--org--data/refs/main").exists());
}

#[test]
fn a_data_set_of_which_some_was_loaded_is_completed_where_that_is_possible() {
    let files: [(&str, &[u8]); 2] = [("a/train.jsonl", b"{}\n"), ("b/train.jsonl", b"{}\n{}\n")];
    let hub = Server::hub("org/data", &files, "http://127.0.0.1:1");
    let folder = tempfile::tempdir().unwrap();
    let client = Hub { endpoint: hub.address.clone(), pause: Duration::ZERO, ..Hub::new(Cache::new(folder.path())) };
    let (all, part) = ("org/data", "org/data/a");
    let get = |hub: &Hub, text: &str| hub.get(&Name::parse(Kind::Dataset, text).unwrap(), &mut Unseen);
    let found = get(&client, part).unwrap();
    assert!(found.path().ends_with("a") && !found.folder.join("b").exists());
    // The list of files says that this is not all of it.
    let offline = Hub { is_offline: true, ..client.clone() };
    assert!(get(&offline, all).unwrap_err().to_string().contains("lacks b/train.jsonl"));
    get(&client, all).unwrap();
    assert_eq!(fs::read(found.folder.join("b/train.jsonl")).unwrap(), b"{}\n{}\n");
    let asked = hub.asked().len();
    get(&client, all).unwrap();
    assert_eq!(hub.asked().len(), asked);
    // Without a list only the hub knows, and where it can't be asked, what is there is read.
    fs::remove_dir_all(folder.path().join("datasets--org--data/.hybrid-dpo")).unwrap();
    get(&offline, all).unwrap();
    let away = Hub { endpoint: "http://127.0.0.1:1".to_owned(), ..client.clone() };
    assert_eq!(get(&away, all).unwrap().folder, found.folder);
    fs::remove_file(found.folder.join("b/train.jsonl")).unwrap();
    get(&client, all).unwrap();
    assert!(found.folder.join("b/train.jsonl").exists());
}

#[test]
fn a_renamed_repository_is_followed_with_the_token() {
    let scene = Scene::new();
    let found = scene.get("org/old").unwrap();
    assert_eq!(fs::read(found.path().join("model.safetensors")).unwrap(), weights());
    assert!(found.folder.starts_with(scene.folder.path().join("models--org--old")));
    assert!(scene.hub.asked().iter().any(|asked| asked.path.contains("org/name")));
    assert!(scene.hub.asked().iter().all(|asked| asked.authorization.is_some()));
}

#[test]
fn two_programs_load_a_file_once() {
    /// Ends the other program's download as soon as this one waits for it.
    struct Other(Option<fs::File>, std::path::PathBuf, Vec<String>);
    impl Progress for Other {
        fn begins(&mut self, _: &Name, _: &str, _: usize, _: (u64, u64)) {}
        fn arrived(&mut self, bytes: u64) {
            self.2.push(bytes.to_string());
        }
        fn ends(&mut self) {}
        fn notice(&mut self, line: &str) {
            self.2.push(line.to_owned());
            fs::write(&self.1, weights()).unwrap();
            self.0 = None;
        }
    }
    let scene = Scene::new();
    let blob = scene.blob(SHA256, &weights(), "");
    let locks = scene.folder.path().join(".locks/models--org--name");
    fs::create_dir_all(&locks).unwrap();
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    let lock = fs::File::create(locks.join(format!("{}.lock", checksum(SHA256, &weights())))).unwrap();
    lock.lock().unwrap();
    let mut other = Other(Some(lock), blob, Vec::new());
    let found = scene.client().get(&Name::parse(Kind::Model, "org/name").unwrap(), &mut other).unwrap();
    assert!(other.2.iter().any(|line| line == "another program is downloading model.safetensors; waiting for it"));
    assert!(scene.elsewhere.asked().is_empty());
    assert_eq!(fs::read(found.path().join("model.safetensors")).unwrap(), weights());
}

#[test]
fn the_only_quantised_file_comes_with_the_card() {
    let files: [(&str, &[u8]); 4] =
        [("README.md", b"---\nlicense: mit\n---\n"), ("a.gguf", b"GGUF"), ("config.json", b"{}"), ("x.bin", b"")];
    let hub = Server::hub("org/name", &files, "http://127.0.0.1:1");
    let elsewhere = Server::of_files(Vec::new());
    let scene = Scene { hub, elsewhere, folder: tempfile::tempdir().unwrap() };
    let found = scene.get("org/name").unwrap();
    assert!(found.path().ends_with("a.gguf") && found.folder.join("README.md").exists());
    assert!(!found.folder.join("config.json").exists());
    let asked = scene.hub.asked().len();
    scene.get("org/name").unwrap();
    assert_eq!(scene.hub.asked().len(), asked);
}
