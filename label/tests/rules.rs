//! Who may ask, and what every answer says.

use label::ServerSettings;

use super::{Client, Running, TOKEN, pictures, secret};

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn every_wrong_request_has_its_status() {
    let (_parent, path) = pictures(2);
    let running = Running::start(&path, ServerSettings::default());
    let client = running.client();
    let json = "Content-Type: application/json";
    let answer = |body: &str| client.post(body).status;
    for (status, found) in [
        (404, client.get("/nothing").status),
        (404, client.get("/api/pairs/2?labeller=anna").status),
        (404, client.get("/api/pairs/-1?labeller=anna").status),
        (404, client.get("/api/pairs/99999999999999999999999?labeller=anna").status),
        (404, client.get("/api/pairs/0/middle?labeller=anna").status),
        (404, client.get("/api/pairs/2/left?labeller=anna").status),
        (404, client.get("/../../etc/passwd").status),
        (404, client.get("/api/pairs/%ff/left?labeller=anna").status),
        (400, client.get("/api/pairs/0").status),
        (400, client.get("/api/progress?labeller=").status),
        (400, client.get("/api/progress?labeller=%00").status),
        (405, client.send("POST", "/", &[json], b"{}").status),
        (405, client.send("DELETE", "/api/answers", &[], b"").status),
        (405, client.get("/api/answers").status),
        (414, client.get(&format!("/{}", "a".repeat(3000))).status),
        (414, client.get(&format!("/{}", "a".repeat(80_000))).status),
        (413, answer(&" ".repeat(5000))),
        (413, client.send("POST", "/api/answers", &[json, "Content-Length: 99999999"], b"").status),
        (415, client.send("POST", "/api/answers", &["Content-Type: text/plain"], b"{}").status),
        (415, client.send("POST", "/api/answers", &[], b"{}").status),
        (400, answer("")),
        (400, answer("{")),
        (400, answer("[]")),
        (400, answer(r#"{"labeller":"anna","index":0}"#)),
        (400, answer(r#"{"labeller":"anna","index":0,"choice":"left","undo":true}"#)),
        (400, answer(r#"{"labeller":"anna","index":0,"choice":"a"}"#)),
        (400, answer(r#"{"labeller":"anna","index":-1,"choice":"left"}"#)),
        (400, answer(r#"{"labeller":"anna","index":0,"choice":"left","by":"oracle"}"#)),
        (400, answer(r#"{"labeller":" anna","index":0,"choice":"left"}"#)),
        (400, answer(&format!(r#"{{"labeller":"{}","index":0,"choice":"left"}}"#, "a".repeat(65)))),
        (404, answer(r#"{"labeller":"anna","index":2,"choice":"left"}"#)),
        (409, answer(r#"{"labeller":"anna","index":0,"undo":true}"#)),
    ] {
        assert_eq!(found, status);
    }
    let refused = client.post("{");
    assert!(refused.json()["error"].as_str().unwrap().starts_with("the body is no answer"), "{refused:?}");
    assert_eq!(running.end().labellers().len(), 0);
}

#[test]
fn a_token_is_demanded_for_everything_but_the_empty_page() {
    let (_parent, path) = pictures(1);
    let paths = ["/api/session", "/api/progress?labeller=x", "/api/pairs/0?labeller=x", "/api/pairs/0/left?labeller=x"];
    for (token, status) in [(None, 401), (Some(&TOKEN[1..]), 401), (Some(""), 401), (Some(TOKEN), 200)] {
        let running = Running::start(&path, secret());
        let client = Client { token, ..running.client() };
        for path in paths {
            assert_eq!(client.get(path).status, status, "{path} {token:?}");
        }
        assert_eq!(client.choose("anna", 0, "left").status, status);
        assert_eq!(client.get("/").status, 200);
        running.end();
    }
    let running = Running::start(&path, secret());
    let with = |token| Client { token, ..running.client() };
    assert_eq!(with(None).get("/api/session").header("www-authenticate"), Some("Bearer"));
    assert_eq!(running.end().count("anna"), 1);
}

#[test]
fn wrong_tokens_are_counted_and_then_refused_unseen() {
    let (_parent, path) = pictures(1);
    let running = Running::start(&path, secret());
    let with = |token| Client { token, ..running.client() };
    assert_eq!(with(Some(TOKEN)).get("/api/session").status, 200);
    for wrong in 0..10 {
        assert_eq!(with(None).get("/api/session").status, 401, "no token is no try");
        assert_eq!(with(Some("a wrong token of some length")).get("/api/session").status, 401, "{wrong}");
    }
    for token in ["a wrong token of some length", TOKEN] {
        let refused = with(Some(token)).get("/api/session");
        assert_eq!((refused.status, refused.header("retry-after")), (429, Some("60")), "{refused:?}");
    }
    assert_eq!(with(Some(TOKEN)).choose("anna", 0, "left").status, 429);
    assert_eq!(with(None).get("/").status, 200, "the empty page is still there");
    assert_eq!(running.end().count("anna"), 0);
}

#[test]
fn other_names_and_other_pages_get_nothing() {
    let (_parent, path) = pictures(1);
    let running = Running::start(&path, ServerSettings::default());
    let client = running.client();
    let port = running.address.port();
    let get = |host: &str| client.send("GET", "/api/session", &[&format!("Host: {host}")], b"").status;
    for host in
        [format!("localhost:{port}"), "localhost:9000".to_owned(), "127.0.0.1".to_owned(), "[::1]:80".to_owned()]
    {
        assert_eq!(get(&host), 200, "{host}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "192.168.0.1", "a@localhost"] {
        assert!([400, 403].contains(&get(host)), "{host}");
    }
    assert_eq!(client.raw(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap().status, 400);
    let two = ["Host: localhost", "Host: evil.example"];
    assert_eq!(client.send("GET", "/", &two, b"").status, 400);

    let body = br#"{"labeller":"anna","index":0,"choice":"left"}"#;
    let post = |origin: &str| {
        let headers = ["Content-Type: application/json", &format!("Origin: {origin}")];
        client.send("POST", "/api/answers", &headers, body).status
    };
    for origin in ["http://evil.example", "null", "http://localhost:1", &format!("ftp://127.0.0.1:{port}")] {
        assert_eq!(post(origin), 403, "{origin}");
    }
    assert_eq!(running.client().get("/api/progress?labeller=anna").json()["done"], 0);
    assert_eq!(post(&format!("http://127.0.0.1:{port}")), 200);
    running.end();
}

#[test]
fn every_answer_keeps_the_page_to_itself() {
    let (_parent, path) = pictures(1);
    let running = Running::start(&path, ServerSettings::default());
    for path in
        ["/", "/label.js", "/label.css", "/icon.svg", "/nothing", "/api/session", "/api/pairs/0/left?labeller=x"]
    {
        let reply = running.client().get(path);
        let policy = reply.header("content-security-policy").unwrap();
        for part in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "{path}");
    }
    // What the policy forbids is not in the page, and nothing writes HTML.
    let text = |path: &str| String::from_utf8(running.client().get(path).body).unwrap();
    let (page, script) = (text("/"), text("/label.js"));
    assert!(!page.contains("style=") && !page.contains("onclick") && !page.contains("http"), "{page}");
    assert!(!script.contains("innerHTML") && !script.contains("insertAdjacentHTML") && !script.contains("eval("));
    running.end();
}
