//! A judge against servers that misbehave.
mod server;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use datasets::pairs::LabelChoice;
use tempfile::TempDir;

use self::server::{Action, Server};
use crate::statistics::Positions;
use crate::{
    ApiJudge, ApiKey, AskError, Cache, Client, Clock, Content, Endpoint, Http, HttpOptions, Judged, Limits, Material,
    Orders, Template, Unjudged,
};

/// A clock that stands still unless somebody waits.
#[derive(Default)]
struct TestClock(Mutex<Duration>);

impl Clock for TestClock {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) {
        *self.0.lock().unwrap() += duration;
    }
}

fn http(server: &Server, timeout: Duration) -> Http {
    let endpoint = Endpoint::parse(&server.endpoint()).unwrap();
    Http::new(endpoint, ApiKey::new("sk-secret"), &HttpOptions { timeout, authorities: None, proxy: None }).unwrap()
}

/// What a judge needs, in a folder of its own.
struct Scene {
    folder: TempDir,
    clock: TestClock,
    stop: AtomicBool,
    limits: Limits,
    timeout: Duration,
}

impl Scene {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: TestClock::default(),
            stop: AtomicBool::new(false),
            limits: Limits::default(),
            timeout: Duration::from_secs(60),
        }
    }

    fn cache(&self) -> Cache {
        Cache::open(&self.folder.path().join("answers.jsonl")).unwrap()
    }

    /// Runs with a judge that a server is behind.
    fn with<T>(&self, server: &Server, run: impl FnOnce(&ApiJudge<'_>, &Client<'_>) -> T) -> T {
        let (http, cache) = (http(server, self.timeout), self.cache());
        let client = Client::new(&http, &self.clock, &cache, self.limits, &self.stop);
        run(&ApiJudge::new(&client, "m", Template::answers()), &client)
    }

    fn compare(&self, server: &Server, n: usize) -> Vec<Judged> {
        self.with(server, |judge, _| judge.compare(&pairs(n)).unwrap())
    }

    fn seconds(&self) -> f64 {
        self.clock.now().as_secs_f64()
    }
}

fn pairs(n: usize) -> Vec<Material> {
    let text = |side: &str, index| Content::Text(format!("{side} of {index}"));
    (0..n)
        .map(|index| Material {
            index,
            prompt: format!("request {index}"),
            a: text("left", index),
            b: text("right", index),
        })
        .collect()
}

/// The place of the left answer: a judge that always prefers it.
fn left(text: &str) -> Action {
    Action::say(if text.find("left of") < text.find("right of") { "Preferred: A" } else { "Preferred: B" })
}

#[test]
fn a_server_that_misbehaves_in_every_way_is_asked_again_with_longer_waits() {
    let server = Server::start(|number, request| match number {
        0 => Action::Reply(500, "", "oh".to_owned()),
        1 => Action::Reply(200, "", "<html>gateway</html>".to_owned()),
        2 => Action::Half("{\"choices\": [{".to_owned()),
        3 => Action::Close,
        4 => Action::Reply(503, "", String::new()),
        _ => left(&request.text()),
    });
    let scene = Scene::new();
    let judged = scene.compare(&server, 1);
    assert_eq!(judged[0].choice(), Some(LabelChoice::A));
    assert_eq!((server.count(), scene.seconds()), (6, 1.0 + 2.0 + 4.0 + 8.0 + 16.0));
}

#[test]
fn a_slow_server_is_given_up_and_asked_again() {
    let server = Server::start(|number, request| if number == 0 { Action::Hang } else { left(&request.text()) });
    let scene = Scene { timeout: Duration::from_millis(300), ..Scene::new() };
    assert_eq!(scene.compare(&server, 1)[0].choice(), Some(LabelChoice::A));
    assert_eq!(server.count(), 2);
}

#[test]
fn a_server_that_asks_for_time_gets_it_and_too_much_is_down() {
    let busy = |headers| Action::Reply(429, headers, "{\"error\": {\"message\": \"slow down\"}}".to_owned());
    let server = Server::start(move |number, request| match number {
        0 | 1 => busy("Retry-After: 7\r\n"),
        _ => left(&request.text()),
    });
    let scene = Scene::new();
    assert_eq!(scene.compare(&server, 1)[0].choice(), Some(LabelChoice::A));
    assert_eq!((server.count(), scene.seconds()), (3, 14.0));
    let server = Server::start(move |_, _| busy("Retry-After: 3600\r\n"));
    let judged = scene.compare(&server, 2);
    assert!(judged[0].choice().is_some(), "it is kept");
    let Some(Unjudged::Failed(why)) = &judged[1].unjudged else { panic!("{:?}", judged[1]) };
    assert!(why.contains("3600 s") && why.contains("slow down"), "{why}");
    assert_eq!(server.count(), 1);
}

#[test]
fn a_server_that_asks_for_no_time_is_asked_again_as_one_that_says_nothing() {
    let server = Server::start(|number, request| match number {
        0..3 => Action::Reply(429, "Retry-After: 0\r\n", String::new()),
        _ => left(&request.text()),
    });
    let scene = Scene::new();
    assert_eq!(scene.compare(&server, 1)[0].choice(), Some(LabelChoice::A));
    assert_eq!((server.count(), scene.seconds()), (4, 1.0 + 2.0 + 4.0));
}

#[test]
fn one_that_is_down_is_left_alone_after_a_few_pairs_and_goes_on_later() {
    let down = Server::start(|number, request| if number < 2 { left(&request.text()) } else { Action::Close });
    let scene = Scene { limits: Limits { retries: 2, ..Limits::default() }, ..Scene::new() };
    let judged = scene.compare(&down, 8);
    let failed = judged.iter().filter(|judged| matches!(judged.unjudged, Some(Unjudged::Failed(_)))).count();
    let unasked = judged.iter().filter(|judged| judged.unjudged == Some(Unjudged::NotAsked)).count();
    assert_eq!((failed, unasked, down.count()), (3, 3, 2 + 3 * 3));
    let Some(Unjudged::Failed(why)) = &judged[2].unjudged else { panic!("{:?}", judged[2]) };
    assert!(why.contains("no answer after 3 tries"), "{why}");
    let up = Server::start(|_, request| left(&request.text()));
    assert!(scene.compare(&up, 8).iter().all(|judged| judged.choice() == Some(LabelChoice::A)));
    assert_eq!(up.count(), 6);
}

#[test]
fn nothing_is_asked_twice_though_the_server_would_say_something_else() {
    let server = Server::start(|number, _| Action::say(if number < 5 { "Preferred: A" } else { "Preferred: tie" }));
    let scene = Scene::new();
    let first = scene.compare(&server, 5);
    scene.with(&server, |judge, client| {
        assert_eq!(judge.kept(&pairs(5)[3]).as_ref(), Some(&first[3]));
        assert_eq!(judge.kept(&pairs(6)[5]), None);
        assert_eq!(judge.compare(&pairs(5)).unwrap(), first);
        let usage = client.usage();
        assert_eq!((usage.answered, usage.kept, usage.requests, usage.prompt_tokens), (0, 5, 0, 0));
    });
    assert_eq!(server.count(), 5);
    // Other fields, or another order, are another question.
    scene.with(&server, |judge, client| {
        assert!(judge.kept(&pairs(1)[0]).is_some());
        let other = ApiJudge::new(client, "other", Template::answers());
        assert_ne!(other.fingerprint(), judge.fingerprint());
        other.compare(&pairs(1)).unwrap();
        let usage = client.usage();
        assert_eq!((usage.answered, usage.prompt_tokens, usage.completion_tokens), (1, 100, 10));
        assert!((usage.cost(2.5, 10.0) - 0.000_35).abs() < 1e-12);
    });
    assert_eq!(server.count(), 6);
}

#[test]
fn threads_ask_the_same_once_and_keep_the_order_of_the_pairs() {
    let server = Server::start(|_, request| left(&request.text()));
    let scene = Scene::new();
    let mut all = pairs(12);
    all.extend(pairs(12));
    let judged = scene
        .with(&server, |_, client| ApiJudge::new(client, "m", Template::answers()).parallel(4).compare(&all).unwrap());
    assert!(judged.iter().zip(&all).all(|(judged, pair)| judged.index == pair.index));
    assert!(judged.iter().all(|judged| judged.choice() == Some(LabelChoice::A)));
    assert_eq!(server.count(), 12);
    // Which side is shown first is drawn.
    let first = server
        .requests()
        .iter()
        .filter(|request| request.text().find("left of") < request.text().find("right of"))
        .count();
    assert!((2..=10).contains(&first), "{first}");
}

#[test]
fn a_rate_is_kept() {
    let server = Server::start(|_, request| left(&request.text()));
    let scene = Scene { limits: Limits { requests_per_minute: Some(30.0), ..Limits::default() }, ..Scene::new() };
    scene.compare(&server, 5);
    assert_eq!(scene.seconds(), 8.0);
}

#[test]
fn both_orders_show_a_judge_that_prefers_the_first() {
    use LabelChoice::{A, Tie};

    let server = Server::start(|number, request| match number {
        0..6 => Action::say("Preferred: A"),
        _ => left(&request.text()),
    });
    let scene = Scene::new();
    let both = |n| {
        scene.with(&server, |_, client| {
            ApiJudge::new(client, "m", Template::answers()).orders(Orders::Both).compare(&pairs(n)).unwrap()
        })
    };
    let judged = both(5);
    let choices: Vec<_> = judged.iter().map(|judged| judged.choice().unwrap()).collect();
    assert_eq!((choices, server.count()), (vec![Tie, Tie, Tie, A, A], 10));
    let positions = Positions::of(&judged);
    assert_eq!(positions, Positions { first: 8, second: 2, both: 5, consistent: 2 });
    assert_eq!((positions.first_share().unwrap().0, positions.consistency()), (0.8, Some(0.4)));
}

#[test]
fn replies_without_a_choice_are_counted_and_not_guessed() {
    let cut = r#"{"choices": [{"message": {"content": "Comparison: A is"}, "finish_reason": "length"}]}"#;
    let server = Server::start(move |number, _| match number {
        0 => Action::say("Both have their merits."),
        1 => Action::Reply(200, "", cut.to_owned()),
        _ => Action::say("Preferred: tie"),
    });
    let scene = Scene::new();
    let judged = scene.with(&server, |judge, client| {
        let judged = judge.compare(&pairs(3)).unwrap();
        assert_eq!(client.usage().uncounted, 1);
        judged
    });
    assert_eq!(judged.iter().map(Judged::is_unparsed).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(judged.iter().map(Judged::is_cut).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(judged[2].choice(), Some(LabelChoice::Tie));
}

#[test]
fn a_reply_without_a_content_is_unparsed_and_asked_for_again() {
    let none = r#"{"choices": [{"message": {"content": null, "refusal": "no"}, "finish_reason": "stop"}]}"#;
    let server = Server::start(move |number, request| match number {
        0 => Action::Reply(200, "", none.to_owned()),
        _ => left(&request.text()),
    });
    let scene = Scene::new();
    let judged = scene.compare(&server, 2);
    assert_eq!(judged.iter().map(Judged::is_unparsed).collect::<Vec<_>>(), [true, false]);
    assert_eq!(scene.cache().len(), 1);
    assert_eq!(scene.compare(&server, 2)[0].choice(), Some(LabelChoice::A));
    assert_eq!((server.count(), scene.cache().len()), (3, 2));
}

#[test]
fn a_query_is_kept_and_azures_keys_have_a_header_of_their_own() {
    let server = Server::start(|_, _| Action::say("Preferred: A"));
    let endpoint = Endpoint::parse(&format!("http://{}/openai/deployments/d?api-version=1", server.address)).unwrap();
    let options = HttpOptions { timeout: Duration::from_secs(60), authorities: None, proxy: None };
    let http = Http::new(endpoint, ApiKey::new("sk-secret"), &options).unwrap();
    let scene = Scene::new();
    let cache = scene.cache();
    Client::new(&http, &scene.clock, &cache, scene.limits, &scene.stop).ask(&serde_json::json!({})).unwrap();
    let head = server.requests()[0].head.to_ascii_lowercase();
    assert!(head.starts_with("post /openai/deployments/d/chat/completions?api-version=1 "), "{head}");
    assert!(head.contains("api-key: sk-secret") && !head.contains("authorization"), "{head}");
}

#[test]
fn a_question_that_is_refused_does_not_end_the_others() {
    let server = Server::start(|number, request| match number {
        1 => Action::Reply(400, "", "{\"error\": {\"message\": \"too long\"}}".to_owned()),
        _ => left(&request.text()),
    });
    let judged = Scene::new().compare(&server, 3);
    let Some(Unjudged::Refused(why)) = &judged[1].unjudged else { panic!("{:?}", judged[1]) };
    assert_eq!((why.as_str(), server.count()), ("400 the request is refused: too long", 3));
}

#[test]
fn what_no_question_would_pass_ends_all_at_once_and_shows_no_key() {
    for (status, headers, says) in [
        (401, "", "401 the key is refused, or missing: no such key ***"),
        (404, "", "404 there is no such model or address: no such key ***"),
        (302, "Location: https://elsewhere/v1\r\n", "302: the server is at https://elsewhere/v1"),
        (307, "Location: https://elsewhere/v1?key=sk-secret\r\n", "307: the server is at https://elsewhere/v1?key=***"),
    ] {
        let server = Server::start(move |_, request| {
            assert!(request.head.to_ascii_lowercase().contains("authorization: bearer sk-secret"), "{}", request.head);
            Action::Reply(status, headers, "{\"error\": {\"message\": \"no such key sk-secret\"}}".to_owned())
        });
        let scene = Scene::new();
        let error = scene.with(&server, |judge, _| judge.compare(&pairs(3)).unwrap_err().to_string());
        assert!(error.contains(says) && !error.contains("sk-secret"), "{error}");
        assert_eq!(server.count(), 1);
    }
}

#[test]
fn a_server_without_tls_gets_nothing_if_tls_was_asked_for() {
    let server = Server::start(|_, _| Action::say("Preferred: A"));
    let endpoint = Endpoint::parse(&format!("https://{}/v1", server.address)).unwrap();
    let options = HttpOptions { timeout: Duration::from_secs(60), authorities: None, proxy: None };
    let http = Http::new(endpoint, ApiKey::new("sk-secret"), &options).unwrap();
    let scene = Scene::new();
    let cache = scene.cache();
    let client = Client::new(&http, &scene.clock, &cache, scene.limits, &scene.stop);
    let error = client.ask(&serde_json::json!({})).unwrap_err();
    assert!(matches!(&error, AskError::Fatal(why) if why.contains("TLS was asked for")), "{error:?}");
    assert!(server.requests().iter().all(|request| !request.head.contains("POST")));
}

#[test]
fn a_stop_ends_waits_and_leaves_the_rest_unasked() {
    let server = Server::start(|_, _| Action::Close);
    let scene = Scene { stop: AtomicBool::new(true), ..Scene::new() };
    let judged = scene.compare(&server, 2);
    assert!(judged.iter().all(|judged| judged.unjudged == Some(Unjudged::NotAsked)));
    assert_eq!(server.count(), 0);
}

#[test]
fn options_that_cannot_be_used_are_named() {
    let new = |key: &str, authorities, proxy| {
        let options = HttpOptions { timeout: Duration::from_secs(1), authorities, proxy };
        Http::new(Endpoint::parse("https://x/v1").unwrap(), ApiKey::new(key), &options).unwrap_err().to_string()
    };
    assert!(new("a b", None, None).contains("the key has white space"));
    assert!(new("a", Some(b"nothing"), None).contains("`judge.ca`"));
    assert!(new("a", None, Some("ftp://x")).contains("`judge.proxy`"));
    assert!(
        Cache::open(Path::new("/nowhere/answers.jsonl")).unwrap_err().to_string().contains("/nowhere/answers.jsonl")
    );
}
