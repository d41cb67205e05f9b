"""Writes chat.json: what transformers' chat templates give for templates that use every feature the field's do.

The templates are our own, in the dialects of ChatML, Llama and Mistral templates.
Run: python chat.py   (transformers and jinja2; the versions used are in the file it writes)
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

TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}

TEMPLATES = {
    # ChatML with a default system message before the first turn.
    "chatml": """{%- if messages[0]['role'] != 'system' -%}
{{- '<|im_start|>system\\nBe of use.<|im_end|>\\n' -}}
{%- endif -%}
{% for message in messages %}
{{ '<|im_start|>' + message.role + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    # One line, no white space to trim.
    "one_line": "{{ bos_token }}{% for message in messages %}{% if not loop.first %}\n{% endif %}"
    "[{{ loop.index0 }}/{{ loop.length }}|{{ message.role | upper }}] {{ message.content | trim }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}\n[?|ASSISTANT] {% endif %}",
    # Header tokens, the day, a namespace, slices, tests, tojson.
    "headers": """{{- bos_token }}
{%- set state = namespace(turns=0, last=none) %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
    {%- set rest = messages %}
{%- endif %}
{{- "<|start|>system<|end|>\\n\\n" }}
{{- "Today: " + date_string + " (" + strftime_now('%A %B %Y-%m-%d %y %%') + ")\\n" }}
{{- system_message }}
{{- "<|eot|>" }}
{%- if tools %}
    {{- "Tools: " }}{{ tools | tojson }}
{%- endif %}
{%- for message in rest %}
    {%- set state.turns = state.turns + 1 %}
    {%- set state.last = message.role %}
    {{- '<|start|>' + message['role'] + '<|end|>\\n\\n' + message['content'] | trim + '<|eot|>' }}
{%- endfor %}
{{- {"turns": state.turns, "last": state.last, "list": [1, 2.5, true, none, "é<&>'\\""]} | tojson }}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|end|>\\n\\n' }}
{%- endif %}
""",
    # Alternation enforced, as in Mistral's.
    "strict": """{{ bos_token }}
{%- for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Turns must go user, assistant, user, assistant') }}
    {%- endif %}
    {%- if message.role == 'user' %}
        {{- '[INST] ' ~ message.content.strip() ~ ' [/INST]' }}
    {%- elif message.role == 'assistant' %}
        {{- ' ' ~ message.content ~ eos_token }}
    {%- else %}
        {{- raise_exception('Unknown role: ' + message.role) }}
    {%- endif %}
{%- endfor %}
""",
    # Python's methods, loop controls, macros, filters, membership, ternaries, the generation tag.
    "python": """{% macro header(role, mark='#') %}
{{ mark * 2 }} {{ role.title() }}:{% endmacro %}
{% for message in messages %}
    {% if message.content.startswith('/skip') %}
        {% continue %}
    {% endif %}
    {% if '/stop' in message.content %}
        {% break %}
    {% endif %}
{{ header(message.role) }}
    {%- if message.role == 'assistant' %}
        {%- generation %}
 {{ message.content.split('</think>')[-1].lstrip('\\n') }}
        {%- endgeneration %}
    {%- else %}
 {{ message.content.replace('\\t', ' ').rstrip() | replace('?', ' ?') }}
    {%- endif %}
{{ eos_token if message.role == 'assistant' else '' }}
{% endfor %}
{% if messages | length > 1 and messages | selectattr('role', 'equalto', 'user') | list | length == 1 %}one question
{% endif %}
{{ messages | map(attribute='role') | join(', ') }}; {{ messages[-1].get('name', 'nobody') }}; {{ messages[0].items() | list | length }}
{% for key, value in {'b': 1, 'a': 2}.items() %}{{ key }}={{ value }}{{ ',' if not loop.last }}{% endfor %}

{{ [1, 2] | tojson(indent=2) }}
{% if add_generation_prompt %}{{ header('assistant') }} {% endif %}
""",
    # White space control by hand, and the line ends that blocks leave.
    "spaces": """{# a comment #}
  {% for message in messages %}
  A {{- message.content -}} B
    {%+ if true %}kept{% endif +%}
  {% endfor %}
  end

{% raw %}{{ raw }}{% endraw %}

{% set text %}
 block {{ messages | length }}
{% endset %}
{{ text }}|{{ undefined_thing }}|{{ tools is none }}|{{ documents is defined }}|{{ messages is iterable }}|{{ none }}|{{ true }}|{{ 7 // 2 }}|{{ 7 / 2 }}|{{ 2 ** 3 }}|{{ 1.0 }}
""",
    # Whole messages, whose names are in the order of the record.
    "whole": "{% for message in messages %}{{ message }}\n{{ message | tojson }}\n{{ message | list }}\n"
    "{% for name, value in message.items() %}{{ name }}={{ value }};{% endfor %}\n{% endfor %}",
}

USER = {"role": "user", "content": " How do you do?\t"}
ANSWER = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nWell, thank you. \"é\" <b>&amp;</b> "}
CHATS = {
    "question": [USER],
    "system": [{"role": "system", "content": "  Speak plainly.\n"}, USER],
    "answer": [USER, ANSWER],
    "turns": [USER, ANSWER, {"role": "user", "content": "/skip this"}, {"role": "assistant", "content": "Yes."},
              {"role": "user", "content": "Bye\n\n日本語 🙂"}],
    "stop": [USER, {"role": "assistant", "content": "no /stop"}, {"role": "user", "content": "after"}],
    "wrong_order": [USER, USER],
    "fields": [{"content": "a", "role": "user", "name": "Ann"}, {"id": 7, "content": "b", "tool_calls": [], "role": "assistant"},
               {"content": "c", "reasoning": "hm", "role": "assistant"},
               {"reasoning_content": "hm", "weight": 0.5, "role": "assistant", "content": "d"}],
}


def render(template, chat, add_generation_prompt):
    compiled = chat_template_utils._compile_jinja_template(template)
    try:
        text = compiled.render(messages=chat_template_utils._alias_reasoning_fields(chat), tools=None, documents=None,
                               add_generation_prompt=add_generation_prompt, **TOKENS)
        return {"text": text}
    except jinja2.exceptions.TemplateError as error:
        return {"error": str(error)}


def main():
    cases = [
        {"template": template, "chat": chat, "add_generation_prompt": flag,
         **render(TEMPLATES[template], CHATS[chat], flag)}
        for template in TEMPLATES for chat in CHATS for flag in (False, True)
    ]
    out = {
        "made_by": f"chat.py, transformers {transformers.__version__}, jinja2 {jinja2.__version__}",
        "day": [2025, 3, 9],
        "special_tokens": TOKENS,
        "templates": TEMPLATES,
        "chats": CHATS,
        "cases": cases,
    }
    path = pathlib.Path(__file__).with_name("chat.json")
    path.write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n")


main()
