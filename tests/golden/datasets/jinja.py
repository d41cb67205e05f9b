"""Writes jinja.json: what transformers' Jinja makes of small templates, one construct each.

A template that it refuses has null for its text. Run: python jinja.py   (transformers and jinja2; the versions used are
in the file it writes)
"""

import datetime
import json
import pathlib

import jinja2
import transformers
import transformers.utils.chat_template_utils as chat_template_utils


class FixedDay(datetime.datetime):
    """The day that ChatTemplate is given in the Rust test."""

    @classmethod
    def now(cls, tz=None):
        return cls(2025, 3, 9)


chat_template_utils.datetime = FixedDay

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " How many? \n"},
    {"role": "assistant", "content": "It's <b>3</b> & \"more\"", "tool_calls": [
        {"type": "function", "function": {"name": "count", "arguments": {"of": "apples", "items": [1, 2.5, None, True]}}}]},
    {"role": "tool", "content": "3", "name": "count"},
]
TOLD = {
    "messages": MESSAGES,
    "add_generation_prompt": True,
    "tools": None,
    "documents": None,
    "schema": {"type": "array", "items": {"type": "string"}, "values": 3, "Größe": "grün\u2028\u0007"},
    "numbers": [3, 1, 2.5, True, -7, 0],
    "words": ["pear", "Apple", "fig", "apple", "FIG"],
    "rows": [{"k": "b", "n": 2}, {"k": "a", "n": 1}, {"k": "B", "n": 3}, {"n": 4}],
    "text": "  the Quick\tbrown-fox's\r\nden\n",
    "empty": "",
    "tiny": 1.5e-07,
}

# Printed by {{ }}.
EXPRESSIONS = """
none is iterable
none is sequence
'abc' is sequence
'abc' is iterable
{} is sequence
{} is mapping
[] is sequence
(1, 2) is sequence
messages[1:] is sequence
messages[1:] | length
missing is sequence
missing is iterable
missing is callable
range(3) is sequence
schema.items() is sequence
schema.keys() is iterable
3 is iterable
true is number
true is integer
1.0 is float
'a' is string
none is none
tools is none and documents is none
missing is defined
missing is undefined
missing is not defined
schema.items is defined
schema.items is callable
schema['items'].type
schema.values
schema['values']
schema.values is number
schema.missing is defined
schema.missing.more
missing.more
missing
missing | length
missing | list
missing | default('d')
empty | default('d')
empty | default('d', true)
empty | default('d', boolean=true)
missing == missing2
missing + 'a'
missing ~ 'a'
missing in [1]
'a' in missing
'%s has %d of %5.2f%%' % ('a', 3, 99.5)
'%-5s|%5s|%05d|%+d|%x|%X|%o|%e|%g|%r' % ('a', 'b', 42, 7, 255, 255, 8, 12345.678, 0.00001, 'q')
'%s' % messages[0].role
'%s' % [1, 2]
'%(role)s: %(content)s' % messages[0]
'%s %s' % 'a'
'%s' % ('a', 'b')
'%d' % 'a'
'%s' % missing
'a%%b' % ()
'a,b,,c'.partition(',')
'a,b,,c'.rpartition(',')
'abc'.partition(',')
'abc'.rpartition(',')
'a,b,,c'.split(',')
'a,b,,c'.split(',', 1)
'a,b,,c'.rsplit(',', 1)
'a,b,,c'.split(',', maxsplit=2)
' a  b c '.split()
' a  b c '.split(None, 1)
' a  b c '.rsplit(None, 1)
text.split()
text.splitlines()
text.splitlines(true)
'a\\x0bb\\x0cc\\x1cd\\x85e\\u2028f\\r\\ng\\rh'.splitlines()
'<think>a</think>b'.removeprefix('<think>').removesuffix('b')
'abc'.removeprefix('x')
text.strip()
text.lstrip()
text.rstrip()
'xxabcxx'.strip('x')
'xyabcyx'.lstrip('xy')
'xyabcyx'.rstrip('yx')
text.title()
text.capitalize()
text.upper()
text.swapcase()
"they're bill's".title()
'ǆungla straße ﬁn'.title()
'hello wORLD'.capitalize()
'a1b2'.isalnum()
'ab'.isalpha()
'12'.isdigit()
'12'.isdecimal()
'12'.isnumeric()
''.isdigit()
' '.isspace()
'Ab Cd'.istitle()
'ab'.islower()
'AB1'.isupper()
'a\\n'.isprintable()
'é'.isascii()
'é'.isalpha()
'42'.zfill(5)
'-42'.zfill(5)
'a'.center(4, '*') ~ 'ab'.center(5, '*') ~ 'abc'.center(6, '*')
'a'.ljust(3) ~ '|' ~ 'a'.rjust(3, '.')
'a\\tbc\\td'.expandtabs(4)
'a\\tbc'.expandtabs()
'{} and {}'.format('a', 1)
'{1} and {0}'.format('a', 1)
'{a} {b!r:>5}|{c:08.3f}|{d:,}'.format(a=1, b='x', c=3.14159, d=1234567)
'{0.role} {0[content]}'.format(messages[0])
'{:>{w}}'.format('a', w=4)
'{{}}'.format()
'{}'.format()
'{:x} {:#x} {:b} {:e} {:g} {:%}'.format(255, 255, 5, 1234.5, 1e20, 0.25)
'{:^7}|{:*<4}|{:+d}'.format('mid', 'a', 3)
'a-b'.join(['1', '2', '3'])
','.join([1])
'banana'.count('an')
'banana'.find('n')
'banana'.rfind('n')
'banana'.find('x')
'banana'.index('x')
'banana'.replace('a', 'o', 2)
'banana'.startswith('ban')
'banana'.startswith(('x', 'b'))
'banana'.startswith('an', 1)
'banana'.endswith('na', 0, -1)
'abc'.encode
'abc'.nothing
'abc'.nothing is defined
[1, 2, 1].count(1)
[1, 2, 1].index(2)
[1].append(2)
[1].append is defined
[1].append
{'a': 1}.get('b')
{'a': 1}.get('b', 2)
{'a': 1}.keys()
{'a': 1}.values()
{'a': 1}.items()
{'a': 1}.items() | list
{'a': 1}.pop('a')
{'a': 1}.update({})
{'a': none, 1: 'x', true: 2.0, (1, 2): []}
{[1]: 2}
[1, 'a', "it's", 'say "x"', 'both \\' and "', none, true, 1.0, (1,), (), {}, 'é\\n\\x00\\u200b\\U0001f600']
'abc'[0] ~ 'abc'[-1] ~ 'abc'[5]
'abc'[5] is defined
'abcdef'[1:4] ~ 'abcdef'[::-1] ~ 'abcdef'[::2] ~ 'abcdef'[-2:] ~ 'abcdef'[:-4] ~ 'abcdef'[4:1:-2]
[1, 2, 3, 4][::-1]
(1, 2, 3)[1:]
messages[-1].role
messages[::-1][0].role
messages[:1][0].role ~ messages[1:-1] | length
none[1:]
none.x is defined
none['x'] is defined
none[0] is defined
5 .real
schema[1:]
range(10)[2:8:2] | list
range(5)
range(1, 10, 3)
range(3) | list
range(3)[-1]
range(200000)
7 // 2
-7 // 2
7 % 3
-7 % 3
7 % -3
7.5 // 2
-7.5 % 2
7 / 2
6 / 2
2 ** 10
2 ** -1
2 ** 3 ** 2
-2 ** 2
2 ** 0.5
1 // 0
1 % 0
1 / 0
0.1 + 0.2
1e16
1e15
1.0e-5
0.0001
tiny
123456789.123
1e22
1.5e300 * 1e10
10 ** 30
1_000
0x1f + 0b11 + 0o17
'ab' * 3
3 * 'ab'
'ab' * -1
[1] * 2
[1] + [2]
(1,) + (2,)
'a' + 1
'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1]
true + true
1 == 1.0
1 == true
'1' == 1
1 < 2 < 3
1 < 2 > 3
3 > 2 == true
'a' < 'b'
'a' < 1
[1, 2] < [1, 3]
1 in [1, 2]
'a' in 'abc'
'role' in messages[0]
1 not in [1]
not 1 in [1]
not true == false
1 if false
(1 if false) is defined
'a' if true else 'b'
'a' if false else 'b' if false else 'c'
1 and 0 or 'x'
none or false
'' and missing.x
[] or 'empty'
1, 2
(1)
(1,)
-1 | abs
-(1 | abs)
1 + 2 | string
3 is divisibleby 3
3 is divisibleby(2)
3 is odd and 4 is even
'A' is upper
'a' is lower
1 is sameas 1.0
none is sameas none
true is sameas(true)
1 is eq 1
1 is in [1]
1 is not in [2]
'upper' is filter
'odd' is test
[] is not none
3 is ne 4
2 is gt 1 and 1 is lessthan 2
'a' is nothing
'a' | nothing
words | sort
words | sort(reverse=true)
words | sort(case_sensitive=true)
rows[:3] | sort(attribute='k') | map(attribute='n') | list
rows | sort(attribute='n,k') | length
rows[:3] | sort(attribute='k,n', reverse=true) | map(attribute='n') | list
numbers | sort
['a', 1] | sort
words | unique | list
words | unique(case_sensitive=true) | list
words | min
words | max(case_sensitive=true)
numbers | max
[] | max
rows | max(attribute='n')
numbers | sum
rows | sum(attribute='n')
rows | sum(attribute='n', start=10)
[[1], [2]] | sum(start=[])
['a'] | sum
words | map('upper') | join(',')
words | map('replace', 'p', 'b') | list
rows | map(attribute='k') | list
rows | map(attribute='k', default='none') | list
messages | map(attribute='tool_calls.0.function.name') | list
messages | selectattr('tool_calls') | list | length
messages | selectattr('tool_calls', 'defined') | map(attribute='role') | list
messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | first
messages | selectattr('role', 'in', ['user', 'tool']) | list | length
messages | rejectattr('role', '==', 'user') | list | length
numbers | select('odd') | list
numbers | select('>', 1) | list
numbers | reject('number') | list
numbers | select | list
messages | selectattr('role') | length
(messages | selectattr('role', 'equalto', 'nobody')) is iterable
'yes' if messages | selectattr('role', 'equalto', 'nobody') else 'no'
messages | selectattr('role')
(messages | map(attribute='role'))[0] is defined
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3] | batch(2, 'x') | list
[1, 2, 3, 4, 5] | slice(3) | list
[1, 2, 3, 4, 5] | slice(3, 'x') | list
rows[:3] | groupby('k') | list
rows | groupby('k', default='z') | map(attribute='grouper') | list
(rows | groupby('k', default='z'))[0].list
rows[:3] | groupby('k', case_sensitive=true) | map('first') | list
schema | dictsort
{'b': 1, 'A': 2, 'c': 0} | dictsort(by='value')
{'b': 1, 'A': 2, 'c': 0} | dictsort(true, reverse=true)
schema | items | first
schema | length
schema | list
schema | join(' ')
schema | first
schema | last
none | items | list
'abc' | list
'abc' | reverse
[1, 2] | reverse | list
[1, 2] | reverse
'abc' | first ~ 'abc' | last
[] | first
([] | first) is defined
words | first ~ words | last
words | count
3 | length
none | length
none | list
'3' | int + 1
'3.7' | int
'x' | int
'x' | int(7)
'0x1f' | int(base=16)
'ff' | int(0, 16)
' 1_000 ' | int
3.9 | int
-3.9 | int
none | int(5)
missing | int
'1e3' | float
'x' | float
'inf' | float
true | float
2.5 | round
3.5 | round
2.567 | round(2)
2.675 | round(2)
0.125 | round(2)
3 | round
2.1 | round(method='ceil')
-2.15 | round(1, 'floor')
1234 | round(-2)
'x' | round
1 | string ~ 2
none | string
[1, 'a'] | string
text | trim
'xxaxx' | trim('x')
text | upper
text | lower | title
text | capitalize
'foo-bar (baz) [qux' | title
'aXbXc' | replace('X', '-')
'aXbXc' | replace('X', '-', 1)
123 | replace(2, 'x')
'a\\n\\nb\\nc' | indent
'a\\n\\nb\\nc\\n' | indent(2, true)
'a\\n\\nb' | indent(2, blank=true)
'a\\nb' | indent('> ', first=true)
none | indent
'foo bar baz qux' | truncate(9)
'foo bar baz qux' | truncate(9, true)
'foo bar baz qux' | truncate(11)
'foo bar baz qux' | truncate(9, false, '', 0)
'a b_c, d' | wordcount
'mid' | center(9) ~ '|'
'%s-%s' | format('a', 1)
'%(x)s' | format(x=3)
'<a href="x">\\'&' | e
'<' | escape | e
'<' | forceescape
('<' | safe) ~ '<'
('<' | e) + '<'
'<' | safe | upper
'a' | attr('upper')
schema | attr('type')
schema | tojson
schema | tojson(indent=2)
schema | tojson(ensure_ascii=true)
schema | tojson(separators=(',', ':'))
schema | tojson(sort_keys=true, indent=1, separators=[', ', '='])
messages[2].tool_calls | tojson
[1, 2.0, 1e-07, 1e16, none, true, 'a"\\\\/\\x7f\\x01', [], {}, (1, 2)] | tojson
[[], {}, [1, {'a': []}]] | tojson(indent=4)
[1] | tojson(indent='--')
[1, [2]] | tojson(indent=0)
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
{'a': missing} | tojson
missing | tojson
range(3) | tojson
'<>&\\'' | tojson
'😀' | tojson(ensure_ascii=true)
3 | tojson(nonsense=1)
'a' 'b' "c"
'\\x41\\u0042\\U00000043\\103\\t|\\q|\\é'
'\\U0001F600'
'line \\
continued'
"quote \\" and '"
dict(a=1, b='x')
dict([('a', 1)], b=2)
dict({'a': 1}, **{'b': 2})
dict.fromkeys(['a', 'b'], 0)
namespace(a=1).a
namespace(a=1).b is defined
namespace(_a=1)
strftime_now('%d %B %Y, %A, %y %m %j')
strftime_now('%d %b %Y')
raise_exception('no ' ~ messages | length)
messages.__class__
messages.__class__.__mro__
''.__class__ is defined
messages | attr('__class__')
messages[0]['__class__'] is defined
cycler('a', 'b').next()
joiner('; ')()
cycler()
nothing()
messages()
'a'()
messages[0].content[0:2].upper()
messages[1].content | trim | upper | replace('?', '!')
messages[2].tool_calls[0].function.arguments.items
messages[2].tool_calls[0].function.arguments['items']
messages[2].tool_calls[0].function.arguments | items | list
[messages[0]['role'], messages.0.role, messages[0].get('role')]
add_generation_prompt is defined and add_generation_prompt
true is true and false is false and 1 is not true
True and not False and None is none
1.5 | int | string | length
'a' is in 'abc'
'ab' is in ['ab']
(1, 2)[0] + [3, 4][-1]
{'a': {'b': [10, 20]}}.a.b[1]
{'a': 1}['a'] + {'b': 2}.b
'x' in {'x': 1}.keys()
3 in {'x': 3}.values()
('x', 3) in {'x': 3}.items()
[1] in {'x': 1}
1 in 'a'
numbers[1:3] + numbers[:1]
words[1][::-1] | lower
(words | join('')) | length
('a' ~ 1) * 2
[1, 2] == [1, 2]
(1, 2) == [1, 2]
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
none == false
0 == false
'' == false
1 != 2 and 2 >= 2 and 2 <= 3
""".strip("\n").replace("\\\n", "\x00").split("\n")
EXPRESSIONS = [line.replace("\x00", "\\\n") for line in EXPRESSIONS]

# Whole templates: statements, scopes, white space.
TEMPLATES = r"""
{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}
{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined }}<{{ m.role }}>{{ loop.nextitem.role }};{% endfor %}
{% for m in messages if m.role != 'system' %}{{ loop.index }}/{{ loop.length }}{{ m.role }}{{ loop.last }};{% endfor %}
{% for m in messages %}{{ loop.cycle('a', 'b', 'c') }}{{ loop.changed(m.role == 'user') }};{% endfor %}
{% for x in [] %}a{% else %}none{% endfor %}
{% for x in [1] %}a{% else %}none{% endfor %}
{% for x in [1, 2] %}{% continue %}{% else %}none{% endfor %}
{% for x in [1, 2] %}{% break %}{% else %}none{% endfor %}
{% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% else %}none{% endfor %}
{% for x in none %}a{% endfor %}
{% for x in missing %}a{% else %}e{% endfor %}
{% for x in 5 %}a{% endfor %}
{% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}
{% for (a, b), c in [((1, 2), 3)] %}{{ a + b + c }}{% endfor %}
{% for k in schema %}{{ k }},{% endfor %}
{% for k, v in schema.items() %}{{ k }}={{ v }},{% endfor %}
{% for k, v in schema | items %}{{ loop.index }}{{ k }}{{ loop.length }},{% endfor %}
{% for c in 'añ😀' %}[{{ c }}]{% endfor %}
{% for x in [1, [2, [3]]] recursive %}{% if x is sequence %}<{{ loop(x) }}>{% else %}{{ x }}@{{ loop.depth }}{% endif %}{% endfor %}
{% for x in [1] %}{{ loop([2]) }}{% endfor %}
{% for x in [1, 2] %}{% for y in [3, 4] %}{{ loop.index }}{{ x }}{{ y }} {% endfor %}{{ loop.index }};{% endfor %}
{% for x in [1, 2] %}{% set outer = loop %}{% for y in [3] %}{{ outer.index }}{{ loop.index }}{% endfor %}{% endfor %}
{% set ns = namespace(n=0, done=false) %}{% for x in [1, 2, 3] if not ns.done %}{% set ns.n = ns.n + x %}{% if x == 2 %}{% set ns.done = true %}{% endif %}{% endfor %}{{ ns.n }}
{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}
{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}
{% if false %}{% set tools = 1 %}{% endif %}{{ tools is none }}
{% if false %}{% set words = 1 %}{% endif %}{{ words | length }}
{% for i in [1] %}{{ words is defined }}{% endfor %}{% set words = 1 %}
{{ words | length }}{% set words = 'ab' %}{{ words | length }}
{% macro m() %}{{ words is defined }}{% endmacro %}{{ m() }}{% set words = 1 %}{{ m() }}
{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, c=5) }} {{ m(b=1, a=3) }} {{ m() }}
{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}
{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}
{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}in{{ words | first }}{% endcall %}
{% macro m(xs) %}{% for x in xs %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(x) m([1, 2]) %}<{{ x }}>{% endcall %}
{% macro m() %}a{% endmacro %}{% call m() %}b{% endcall %}
{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}
{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}
{% macro m(x) %}{% set y = x %}{{ y }}{% endmacro %}{{ m(1) }}{{ y is defined }}
{% macro m(x) %} a {% endmacro %}[{{ m(1) | trim }}]{{ m.name }}{{ m.arguments }}
{{ m(1) }}{% macro m(x) %}a{% endmacro %}
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}
{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% set x %}a{{ words[0] }}{% endset %}{{ x }}|{{ x | length }}
{% set x | upper | replace('A', 'o') %}aba{% endset %}{{ x }}
{% filter upper %}a{{ words[0] }}{% endfilter %}
{% set a, b = 1, 2 %}{{ b }}{{ a }}
{% set a, b = [1] %}{{ b }}
{% set schema.x = 1 %}
{% set ns = namespace({'a': 1}, b=2) %}{% set ns.c = ns.a + ns.b %}{{ ns.c }}{{ ns['a'] }}
{% set ns = namespace() %}{% set ns._x = 1 %}
{% print 1, 2 %}
{% if tools %}a{% elif words %}b{% else %}c{% endif %}
{% if missing %}a{% endif %}b{% if not missing %}c{% endif %}
{% if missing.x %}a{% endif %}
{% generation %}a{% set z = 1 %}{% endgeneration %}{{ z is defined }}
{% set z = 1 %}{% generation %}{% set z = 2 %}{{ z }}{% endgeneration %}{{ z }}
{% for m in messages %}{% generation %}{{ m.role }}{{ loop.index }}{% endgeneration %}{% endfor %}
{% for x in [1, 2] %}{% generation %}{% break %}{% endgeneration %}{% endfor %}
{{ '{% generation %}' }}
{% raw %}{% generation %}{{ x }}{% endraw %}
{# {% generation %} #}a
{% raw %}
a
{% endraw %}
b
{%- raw -%}  a  {%- endraw -%}  b
  {% raw %} a {% endraw %}
b
{{ words[0] }}
{% set a = joiner(', ') %}{% for w in words %}{{ a() }}{{ w }}{% endfor %}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}
{% set g = words | map('upper') %}{{ g | first }}{{ g | list }}{{ g | list }}
{% set g = words | select %}{{ 'fig' in g }}{{ g | list }}
{% for a in words | batch(2) %}{{ a | join('-') }};{% endfor %}
{% for g in rows | groupby('n') %}{{ g.grouper }}{{ g.list | length }}{{ g[0] }}{% endfor %}
{% for g, items in rows | groupby('n') %}{{ g }}{{ items | length }}{% endfor %}
{% set x = {'a': [1]} %}{{ x.a[0] }}{{ x }}
{{ {'a': {'b': 1}} }}{{ {'a': 1}['a'] }}
{{ "}}" }}{{ '%}' }}{% set x = '%}' %}{{ x }}
{{ 1 -}}   a {{- 2 }}
{{ 1 }}   a {{ 2 }}
a {%- if true %} b {% endif -%} c
{%+ if true %} b {% endif +%} c
{% include 'x' %}
{% import 'x' as y %}
{% extends 'x' %}
{% nothing %}
{% if %}
{% for x in %}
{{ }}
{{ 1 + }}
{{ (1 }}
{{ 'a }}
{% if true %}
{% endif %}
{% break %}
{% do 1 %}
{# open
{{ x = 1 }}
{{ a.1b }}
{% set 1 = 2 %}
{% set loop = 1 %}{{ loop }}
{% for loop in [1] %}{% endfor %}
{% macro m(a=1, b) %}{% endmacro %}
{{ 'a' | nothing if false else 'b' }}
{% if false %}{{ 'a' | nothing }}{% endif %}b
{% for x in [] %}{{ 'a' | nothing }}{% endfor %}b
{{ words.sort() }}
{{ f'a' }}
{% set x = words.append('a') %}
{{ namespace }}
""".strip("\n").split("\n")

# Templates of several lines.
TEMPLATES += [
    "a\n", "a\n\n", "a\r\nb\r\n", "a\rb", "{% if true %}\nx\n{% endif %}\ny", "{% if true %}\r\nx\r\n{% endif %}\r\ny",
    "  {% if true %}\n  x\n  {% endif %}\n  y", "\t{# c #}\nx", "x {# c #}\ny", "{# c #}\n\nx", "{#- c -#}\n\nx", "a\n  {#- c #}\nx",
    "a\n  {{ 1 }}\n  {{- 2 }}\nb", "a  {% set x = 1 %}  \nb", "a\n{% set x = 1 -%}\n\n  b", "a\n  {%+ set x = 1 %}\nb",
    "{% raw %}\nx\n{% endraw %}\ny", "  {% raw %}\n  x\n  {% endraw %}\n  y", "{% raw -%}\n  x\n{%- endraw %}\ny",
    "{%- for m in messages %}\n    {{- m.role }}\n    {%- if not loop.last %}\n        {{- ', ' }}\n    {%- endif %}\n{%- endfor %}\n",
    "{% for m in messages %}\n{{ m.role }}\n{% endfor %}\n\nend", "{{ 'a\nb' }}\n{{ 'a\r\nb' }}", "\u00a0{% if true %}x{% endif %}",
    "{{ 1\n+\n2 }}", "{%\nset\nx\n=\n3\n%}{{ x }}", "{% set x %}\n  a\n{% endset %}[{{ x }}]", "\ufeff{{ 1 }}", "{% if true -%}\n a \n{%- endif %}\n",
    "{{ '%s\\n' % 'a' }}b", "{# a #}{# b #}\nc", "{% if a is defined -%}x{%- else -%}  y  {%- endif -%}  z",
]

# Found by templates made at random.
FOUND = [
    "{{ 1000000000000001.25 }} {{ 0.13780262816078281 }} {{ 5e-324 }} {{ -12.5e-7 }} {{ 123456789012345680.0 }} {{ 100.0 }}",
    "{% for a, b in [[1,2],[3,4]] if a %}{{ loop.nextitem }}{{ loop.previtem }}{% endfor %}",
    "{{ '\x7f' | tojson(ensure_ascii=true) }}", "{{ [1] | tojson(indent=65) }}",
    "{% macro m() %}{{ caller.name }}{% endmacro %}{% call m() %}{% endcall %}", "{{ ['b'|e,'B'|e]|unique|list|length }}",
    "{% for x in 1, 2, recursive %}{{ x }};{% endfor %}", "{% for x in [1] %}{{ loop.changed == loop.changed }}{% endfor %}",
    "{% for x in [1] %}{% set loop = 1 %}{% endfor %}", "{{ [1].count(1, 1) }}", "{{ range(4).index(2, 1) }}", "{{ [1, 2].index(2, 1) }}",
    "{{ '%5%' % () }}", "{{ '%%' % () }}", "{{ '%lld' % 1 }}", "{{ '%ld' % 1 }}", "{{ numbers[1:2, 3] }}", "{{ dict(zz) }}",
    "{{ [] is filter }}", "{{ numbers | sort(reverse='desc') }}", "{{ numbers | sort(reverse=1) }}", "{% macro m(a, a) %}{% endmacro %}",
    "{% filter length %}abc{% endfilter %}", "{% for x, in [[1]] %}{{ x }}{% endfor %}", "{{ '' * 2 ** 70 }}",
    "{% set a = [1,2]|map('string')|list %}{% set b = a|map('upper') %}{{ a|list }}{{ b|list }}",
]
FOUND += [
    # A base that Jinja works out itself is written into Python's code as a number.
    "{% set n = 2 %}{{ -2 ** n }} {{ (1 - 3) ** n }} {{ -2 ** 2 }} {{ -2.5 ** n }} {{ [-2][0] ** n }} {{ -n ** 2 }} {{ 2 ** n ** 3 }}",
    "{% set n = 2 %}{{ -2 | int ** n }} {{ -2 | abs ** n }} {{ (-2 or 1) ** n }} {{ -0.0 ** n }} {{ -true ** n }} {{ n ** -2 }}",
    "{{ '{0[-1]}'.format('ab') }}", "{{ '{0[1]}'.format('ab') }}", "{{ '{.real}'.format(1) }}", "{{ '{[0]}'.format('ab') }}",
    "{{ ' δΣ'.swapcase() }} {{ 'ǅ'.swapcase() }} {{ 'A😦Σ'.title() }} {{ 'ΣΑΣ'.title() }} {{ 'ΰσ'.capitalize() }} {{ 'և'.title() }}",
    "{{ 'Straße ẞ ſ İ ı ﬁ ΑΣ Ꭳ'.casefold() }}", "{{ '१२'|int }} {{ '٣.٥'|float }} {{ '²'|int(7) }} {{ 'ไทย देवनागरी १२'|wordcount }}",
    "{% for c in 'aไ๒ก็दि१²Ⅷ五〇' %}{{ c.isalpha() }} {{ c.isalnum() }} {{ c.isdecimal() }} {{ c.isdigit() }} {{ c.isnumeric() }};{% endfor %}",
    "{{ '%.3d|%5.2d|%05.1d|%.0x|%+.4i|%#.5x|%-8.3u|' % (5, 7, -3, 255, 12, 255, -4) }}",
    "{{ '%#.0f|%#g|%#.3G|%#.0e' % (2, 1.5, 1e-9, 3) }}", "{{ '{:#.0f}|{:#g}|{:#}|{:n}|{:n}|{:c}'.format(2, 1.5, 1e20, 1.5, 12, 42) }}",
    "{{ '{:010,}|{:08,}|{:+012,.1f}|{:010_x}|{:07,}'.format(1234, 1234, 1234.5, 65535, -1) }}", "{{ '{:,x}'.format(1) }}",
    "{{ 1234.5|round(-2) }} {{ 25.0|round(-1) }} {{ 50.0|round(-2) }} {{ 51.0|round(-2) }} {{ -4.0|round(-1) }} {{ 1e15|round(-1) }} {{ 2.5|round(500) }}",
    "{{ 1e17|round(2, 'floor') }} {{ 1e22|round(0, 'ceil') }} {{ 1/9007199254740993 }} {{ 9223372036854775807 / -3 }} {{ 3 / 2 ** 100 }} {{ 0 / 2 ** 60 }}",
    "{{ strftime_now('%d %B %Y, %A, %y %m %j') }}", "{{ strftime_now('%I:%M %p %P %l %k %-d %-m %-I %-j %_d %_m %e %^a %^B %#p %#a') }}",
    "{{ strftime_now('%a %A %b %B %h %c|%x|%X|%D|%F|%T|%R|%r|%C|%g|%G|%u|%U|%V|%w|%W|%f|%z|%Z|%n|%t|%%|%5d|%_5d|%05e|%10A|%010b|%^c') }}",
    # Filters and tests that Jinja looks for only when it runs them.
    "{{ (1 | nothing) if false else 2 }}", "{{ 1 if true else 2 | nothing }}", "{{ [1 | nothing, 2 if false else 3] }}", "{{ 1 if 1 is nothing else 2 }}",
    "{% if false %}{% elif false and x is nothing %}a{% else %}b{% endif %}", "{% if true or x is nothing %}a{% endif %}",
    "{% if false %}{% for x in [1] | nothing %}{% endfor %}{% endif %}b", "{% if false %}{% for x in [1] if x is nothing %}{% endfor %}{% endif %}b",
    "{% if false %}{% filter nothing %}{% endfilter %}{% endif %}b", "{% if false %}{% set x | nothing %}{% endset %}{% endif %}b",
    "{% if false %}{% macro m(a=1 | nothing) %}{% endmacro %}{% endif %}b", "{% if false %}{% with a = 1 | nothing %}{% endwith %}{% endif %}b",
    "{% if false %}{% call nothing(1 | nothing) %}{% endcall %}{% endif %}b",
    "{% for x in [1] %}{% macro m() %}{% set loop = 1 %}{% endmacro %}{% endfor %}", "{% for x in [] %}{% else %}{% set loop = 1 %}{% endfor %}",
    "{% for y in [1, 2] %}{% for x in [] recursive %}{% else %}{{ y }}{% break %}{% endfor %}{% endfor %}",
    "{% for y in [1, 2] %}{% for x in [] %}{% else %}{{ y }}{% break %}{% endfor %}{% endfor %}",
    "{% for x in [1] %}{% with loop = 2 %}{{ loop }}{% endwith %}{% endfor %}", "{% macro m() %}{% set loop = 1 %}{{ loop }}{% endmacro %}{{ m() }}",
    "{{ '{0[k]}{}{0}'.format({'k': 1}) }}", "{{ '{0[k]}{}{a}'.format({'k': 1}, a=2) }}", "{{ '{}{0[k]}{}'.format({'k': 1}, 2) }}",
    "{{ '{}{0}'.format(1) }}", "{{ '{0}{}'.format(1) }}", "{{ '{0}{0[k]}{1}'.format({'k': 1}, 2) }}",
]
TEMPLATES += FOUND

# Days at the ends of years, where the numbers of weeks change.
DAYS = [(year, month, day) for year in (1999, 2000, 2004, 2009, 2015, 2020, 2024, 2025, 2026, 2100)
        for month, day in ((1, 1), (1, 3), (1, 4), (2, 28), (3, 1), (12, 28), (12, 29), (12, 31))] + [(2024, 2, 29), (2000, 2, 29)]
DAY = "%a %A %b %B %c %C %d %D %e %F %g %G %h %I %j %m %p %r %R %T %u %U %V %w %W %x %X %y %Y %-d %-m %-j %-V %_j"

# What Jinja does and the engine here refuses, by name.
REFUSED = ["{% set a = [1,2]|map('string') %}{% set b = a|map('upper') %}{{ a|list }}{{ b|list }}", "{{ 1e40|int }}",
           "{{ 'abc'.encode }}", "{{ ('<' | e) + '<' }}", "{{ strftime_now('%Q') }}", "{{ strftime_now('%-F') }}", "{{ 5 .real }}",
           "{{ none[1:] }}", "{{ namespace }}"]


def render(source):
    try:
        return chat_template_utils._compile_jinja_template(source).render(**TOLD)
    except Exception:
        return None


def main():
    sources = ["{{ " + expression + " }}" for expression in EXPRESSIONS] + TEMPLATES
    sources = list(dict.fromkeys(sources))
    # What prints an address is no text to compare.
    cases = [[source, text] for source in sources if " at 0x" not in ((text := render(source)) or "")]
    addresses = [source for source in sources if " at 0x" in (render(source) or "")]
    out = {
        "made_by": f"jinja.py, transformers {transformers.__version__}, jinja2 {jinja2.__version__}",
        "told": TOLD,
        "cases": [case for case in cases if case[0] not in REFUSED],
        "refused": addresses + REFUSED,
        "day": DAY,
        "days": [[*day, datetime.date(*day).strftime(DAY)] for day in DAYS],
    }
    path = pathlib.Path(__file__).with_name("jinja.json")
    path.write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n")


main()
