use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::{Error, Template};
use crate::chat::Date;

#[derive(Deserialize)]
struct Golden {
    made_by: String,
    told: Map<String, Json>,
    /// Templates and what they write; nothing where Jinja refuses.
    cases: Vec<(String, Option<String>)>,
    /// Templates that only the engine here refuses.
    refused: Vec<String>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../../tests/golden/datasets/jinja.json")).unwrap()
}

fn render(source: &str, told: &Map<String, Json>) -> Result<String, Error> {
    Template::new(source)?.render(told, Date { year: 2025, month: 3, day: 9 })
}

#[test]
fn every_construct_gives_what_jinja_gives() {
    let golden = golden();
    assert!(golden.made_by.contains("jinja2"));
    let mut wrong = Vec::new();
    for (source, expected) in &golden.cases {
        let found = render(source, &golden.told);
        if found.as_ref().ok() != expected.as_ref() {
            wrong.push(format!("{source:?}\n    jinja {expected:?}\n    here  {found:?}"));
        }
    }
    assert!(golden.cases.len() > 500 && wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_can_not_be_equal_is_an_error_that_names_it() {
    let golden = golden();
    for source in &golden.refused {
        let error = render(source, &golden.told).expect_err(source).to_string();
        assert!(error.contains("line 1 of the template"), "{source}: {error}");
    }
    for (source, name) in [
        ("{{ words | map('upper') }}", "| list"),
        ("{{ 'a' | urlize }}", "\"urlize\""),
        ("{% block a %}{% endblock %}", "\"block\""),
        ("{{ 'abc'.encode() }}", "str.encode"),
        ("{{ ('<' | e) + '<' }}", "Markup"),
        ("{{ lipsum() }}", "\"lipsum\""),
    ] {
        let error = render(source, &golden.told).expect_err(source).to_string();
        assert!(error.contains(name), "{source}: {error}");
    }
}

#[test]
fn templates_that_attack_the_machine_are_refused() {
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(10_000), ")".repeat(10_000));
    let long = format!("{{{{ 1{} }}}}", " + 1".repeat(10_000));
    let blocks = "{% if true %}".repeat(10_000);
    for source in [
        &*deep,
        &long,
        &blocks,
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'a' * 10 ** 12 }}",
        "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{{ 'a'.ljust(10 ** 12) }}",
        "{{ '%999999999d' % 1 }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
    ] {
        let short: String = source.chars().take(60).collect();
        assert!(render(source, &Map::new()).is_err(), "{short}");
    }
}
