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
    /// A format for days, and what it makes of some: year, month, day and text.
    day: String,
    days: Vec<(u16, u8, u8, String)>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../../tests/golden/datasets/jinja.json")).unwrap()
}

fn render(source: &str, told: &Map<String, Json>) -> Result<String, Error> {
    Ok(Template::new(source)?.render(told, Date { year: 2025, month: 3, day: 9 })?.text)
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
fn days_are_written_as_python_writes_them() {
    let golden = golden();
    for (year, month, day, expected) in golden.days {
        assert_eq!(Date { year, month, day }.format(&golden.day).unwrap(), expected);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
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
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        // Values that share their parts: small to hold, and without end to print, to compare and to let go.
        "{% set ns = namespace(x=[0]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[0]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x={}) %}{% for i in range(99) %}{% set ns.x = {1: ns.x, 2: ns.x} %}{% endfor %}",
        "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}",
        "{% set ns = namespace(x=0) %}{% for i in range(99999) %}{% set ns.x = joiner(ns.x) %}{% endfor %}",
        "{% set ns = namespace(x=0) %}{% for i in range(99999) %}{% set ns.x = cycler(ns.x) %}{% endfor %}",
        "{% set ns = namespace(x=[0]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] | map('list') %}{% endfor %}",
        "{% set ns = namespace(x=0) %}{% for i in range(9999) %}{% for j in [ns.x] %}{% set ns.x = loop %}{% endfor %}\
         {% endfor %}",
        "{% set ns = namespace(x=0) %}{% for i in range(9) %}{% set x = loop.changed([ns.x]) %}{% set ns.x = loop %}\
         {% endfor %}",
        // Much work in one expression.
        "{{ (range(99999) | list) | unique | list | length }}",
        "{{ dict.fromkeys(range(99999)) }}",
        "{{ ([[1]] * 99999) | sum(start=[]) | length }}",
        "{{ ('a' * 999999).replace('a', 'b' * 999999) }}",
        "{{ (('b' * 999999) ~ '').join(['a'] * 99999) }}",
        "{{ ('\\t' * 999999).expandtabs(99999) }}",
        "{{ ('a\n' * 99999) | indent('b' * 99999) }}",
        "{{ (['a'] * 99999) | map('center', 99999) | list }}",
        "{{ ([1] * 99999) | tojson(separators=('a' * 99999, 'b')) }}",
        "{{ '%s%s%s%s%s' % (('a' * 999999,) * 5) }}",
        "{{ '{0}{0}{0}{0}{0}'.format('a' * 999999) }}",
        "{% set x = 'a' * 999999 %}{{ x }}{{ x }}{{ x }}{{ x }}{{ x }}",
        "{% set x = 'a' * 999999 %}{% for i in range(99999) %}{% if 'b' in x %}{% endif %}{% endfor %}",
        "{% set x = 'a' * 999999 %}{% for i in range(99999) %}{% if x == 'b' * 999999 %}{% endif %}{% endfor %}",
        "{% set x = ['a'] * 999999 %}{% for i in range(99999) %}{% if x is eq(x) %}{% endif %}{% endfor %}",
        "{% set x = 'a' * 999999 %}{% for i in range(99999) %}{% set y = x[-1] %}{% endfor %}",
        "{% set x = 'a' * 999999 %}{% for i in range(99999) %}{% set y = x.count('b') %}{% endfor %}",
        "{% set x = ['a'] * 999999 %}{% for i in range(99999) %}{% for j in x %}{% break %}{% endfor %}{% endfor %}",
    ] {
        let short: String = source.chars().take(99).collect();
        let error = render(source, &Map::new()).expect_err(&short).to_string();
        let bounds = [
            "deep",
            "levels stand",
            "a chain of",
            "steps",
            "bytes or items",
            "levels",
            "width",
            "keys",
            "range",
            "loop.changed",
            "bits",
        ];
        assert!(bounds.iter().any(|bound| error.contains(bound)), "{short}: {error}");
    }
}

#[test]
fn what_a_namespace_holds_of_itself_is_let_go() {
    for source in [
        "{% set ns = namespace() %}{% set ns.me = ns %}done",
        "{% set first = namespace() %}{% set ns = namespace(last=first) %}{% for i in range(50000) %}\
         {% set last = ns.last %}{% set next = namespace() %}{% set last.next = next %}{% set ns.last = next %}\
         {% endfor %}done",
    ] {
        assert_eq!(render(source, &Map::new()).unwrap().trim(), "done");
    }
}

#[test]
fn generation_blocks_are_where_transformers_finds_them() {
    let generated = |source: &str| {
        let rendered =
            Template::new(source).unwrap().render(&Map::new(), Date { year: 2025, month: 3, day: 9 }).unwrap();
        let places: Vec<_> = rendered.generated.iter().map(|place| (place.start, place.end)).collect();
        (rendered.text, places)
    };
    let block = |text: &str| format!("{{% generation %}}{text}{{% endgeneration %}}");
    assert_eq!(
        generated(&format!("é{}c{{%- generation -%}} d {{%- endgeneration %}}", block("ab"))),
        ("éabcd".to_owned(), vec![(1, 3), (4, 5)])
    );
    assert_eq!(
        generated(&format!("a{{{{ 'b' }}}}{{% for x in [1, 2] %}}-{}{{% endfor %}}", block("{{ x }}"))).1,
        [(3, 4), (5, 6)]
    );
    // Within a captured text a block is placed at the template's own output, as in transformers.
    assert_eq!(generated(&format!("a{{% set x %}}bc{}{{% endset %}}{{{{ x }}}}", block("d"))).1, [(1, 2)]);
    assert_eq!(generated(&format!("a{{% macro m() %}}bc{}{{% endmacro %}}b{{{{ m() }}}}", block("d"))).1, [(2, 3)]);
    assert_eq!(generated(&format!("a{}", block(&format!("b{}", block("c"))))).1, [(1, 2), (1, 3)]);
}
