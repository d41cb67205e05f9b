"""PyTorch on the shapes of benches/ops.rs: forward, and forward with backward, in milliseconds.

Run with two threads on an otherwise idle machine, next to `cargo bench -p benches --bench ops`:

    python benches/peers/engine_ops.py [threads]
"""

import sys
import time

import torch
import torch.nn.functional as F

WIDTH, VOCABULARY, HEADS = 512, 50304, 8
PROMPTS, PROMPT, ANSWER = 4, 350, 40
ROWS = PROMPTS * (PROMPT + 2 * ANSWER)


def best(function, repeats=10):
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(name, function, flops=None):
    def step():
        function().sum().backward()

    forward, step = best(function), best(step)
    line = f"{name:40} forward {1e3 * forward:8.2f} ms  step {1e3 * step:8.2f} ms"
    if flops:
        line += f"  {flops / forward * 1e-9:6.1f} / {3 * flops / step * 1e-9:6.1f} GFLOP/s"
    print(line)


def leaf(*shape):
    return torch.randn(*shape).requires_grad_()


def log_prob(hidden, matrix, targets):
    return torch.log_softmax(hidden @ matrix.T, -1).gather(1, targets[:, None])


def attention(qkv):
    """What a padded batch computes: every sequence whole, prompts twice."""
    q, k, v = qkv.view(2 * PROMPTS, PROMPT + ANSWER, HEADS, 3, WIDTH // HEADS).unbind(3)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


def convolutions():
    """In both orders of memory; the better one is the measure."""
    for name, size, n_in, n_out, kernel, stride in [
        ("wide", 32, 64, 64, 3, 1),
        ("middle", 16, 128, 128, 3, 1),
        ("deep", 8, 256, 256, 3, 1),
        ("half", 32, 64, 64, 3, 2),
        ("first", 32, 4, 64, 3, 1),
        ("last", 32, 64, 4, 3, 1),
        ("single", 16, 128, 128, 1, 1),
    ]:
        flops = 2 * 8 * (size // stride) ** 2 * kernel**2 * n_in * n_out
        for order in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(8, n_in, size, size).to(memory_format=order).requires_grad_()
            weight = torch.randn(n_out, n_in, kernel, kernel).to(memory_format=order).requires_grad_()
            bias = leaf(n_out)
            suffix = "/last" if order == torch.channels_last else "/first"
            measure(
                f"conv2d/{name}/8x{size}x{size}/{n_in}to{n_out}{suffix}",
                lambda: F.conv2d(x, weight, bias, stride=stride, padding=kernel // 2),
                flops,
            )
    x = torch.randn(8, 128, 16, 16).to(memory_format=torch.channels_last).requires_grad_()
    measure("upsample/8x16x16x128", lambda: F.interpolate(x, scale_factor=2.0, mode="nearest"))


def image_rows():
    """Group norm in both orders of memory; the better one is the measure."""
    weight, bias, y = leaf(64), leaf(64), leaf(8, 64)
    for order, suffix in ((torch.contiguous_format, "/first"), (torch.channels_last, "/last")):
        x = torch.randn(8, 64, 32, 32).to(memory_format=order).requires_grad_()
        measure("group-norm-silu/8x32x32x64" + suffix, lambda: F.silu(F.group_norm(x, 32, weight, bias)))
        measure("add-per-image/8x32x32x64" + suffix, lambda: x + y[:, :, None, None])
    a, b = leaf(2048, 128), leaf(2048, 128)
    measure("concat/8x16x16x(128+128)", lambda: torch.cat([a, b], 1))
    wide = leaf(2048, 2048)

    def geglu():
        up, gate = wide.chunk(2, dim=-1)
        return up * F.gelu(gate)

    measure("geglu/2048x1024", geglu)


def block_attention():
    """As diffusers has it: projections of rows, heads split off by a view."""
    for name, n_keys in (("self", 256), ("cross", 77)):
        q, k, v = leaf(8, 256, 256), leaf(8, n_keys, 256), leaf(8, n_keys, 256)

        def attend():
            heads = [x.view(8, -1, 8, 32).transpose(1, 2) for x in (q, k, v)]
            return F.scaled_dot_product_attention(*heads).transpose(1, 2).reshape(8, 256, 256)

        measure(f"block-attention/{name}/8x256x{n_keys}x8x32", attend)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    convolutions()
    image_rows()
    block_attention()
    for name, n_in, n_out in [("qkv", WIDTH, 3 * WIDTH), ("up", WIDTH, 4 * WIDTH), ("down", 4 * WIDTH, WIDTH)]:
        x, weight, bias = leaf(ROWS, n_in), leaf(n_out, n_in), leaf(n_out)
        measure(f"linear/{name}/{ROWS}x{n_in}x{n_out}", lambda: F.linear(x, weight, bias), 2 * ROWS * n_in * n_out)
    for n in (320, 1280):
        hidden, matrix = leaf(n, WIDTH), leaf(VOCABULARY, WIDTH)
        targets = torch.arange(n) * 31 % VOCABULARY
        measure(
            f"log-prob/{n}x{WIDTH}x{VOCABULARY}",
            lambda: log_prob(hidden, matrix, targets),
            2 * n * WIDTH * VOCABULARY,
        )
    qkv = leaf(2 * PROMPTS * (PROMPT + ANSWER), 3 * WIDTH)
    measure(f"attention/8x{PROMPT + ANSWER}x{WIDTH}", lambda: attention(qkv))
    x, weight, bias = leaf(ROWS, WIDTH), leaf(WIDTH), leaf(WIDTH)
    measure(f"layer-norm/{ROWS}x{WIDTH}", lambda: F.layer_norm(x, (WIDTH,), weight, bias))
    wide = leaf(ROWS, 4 * WIDTH)
    measure(f"gelu/{ROWS}x{4 * WIDTH}", lambda: F.gelu(wide))
    other = leaf(ROWS, WIDTH)
    measure(f"add/{ROWS}x{WIDTH}", lambda: x + other)
    table, ids = leaf(VOCABULARY, WIDTH), torch.arange(ROWS) * 29 % 50000
    measure(f"embedding/{ROWS}of{VOCABULARY}x{WIDTH}", lambda: F.embedding(ids, table))


if __name__ == "__main__":
    main()
