#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
A small language model of random weights in PyTorch, served over HTTP: the engine of the hardware
run that has cudart, cuBLAS and a caching allocator. Nothing is downloaded.

  GET /health    ok, once the weights are on the device and one answer was computed
  GET /generate  16 greedy tokens and a digest of all their logits: the same for ever
"""

import argparse
import hashlib
import http.server
import os

# before torch is imported: cuBLAS picks its workspace by it, and threads cost a capture
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("OMP_NUM_THREADS", "4")

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

VOCABULARY = 4096
TOKENS = 16
PROMPT = (1, 42, 7, 1000, 5, 77, 123, 9)
HEAD = 64


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.heads = width // HEAD
        self.before = nn.LayerNorm(width)
        self.mix = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.between = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        n, width = x.shape
        parts = self.mix(self.before(x)).view(n, 3, self.heads, HEAD).permute(1, 2, 0, 3)
        seen = torch.ones(n, n, dtype=torch.bool, device=x.device).tril()
        weights = (parts[0] @ parts[1].transpose(1, 2)) / HEAD ** 0.5
        weights = weights.masked_fill(~seen, float("-inf")).softmax(-1)
        x = x + self.out((weights @ parts[2]).transpose(0, 1).reshape(n, width))
        return x + self.down(functional.gelu(self.up(self.between(x))))


class Model(nn.Module):
    def __init__(self, layers, width):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.places = nn.Embedding(len(PROMPT) + TOKENS, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.last = nn.LayerNorm(width)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.places(torch.arange(len(tokens), device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.last(x[-1]) @ self.tokens.weight.T


@torch.inference_mode()
def generate(model, device):
    tokens = list(PROMPT)
    digest = hashlib.sha256()
    for _ in range(TOKENS):
        logits = model(torch.tensor(tokens, device=device))
        digest.update(logits.float().cpu().numpy().tobytes())
        tokens.append(int(logits.argmax()))
    return f"{' '.join(map(str, tokens[len(PROMPT):]))} {digest.hexdigest()}\n"


def make_handler(model, device):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            text = {"/health": lambda: "ok\n", "/generate": lambda: generate(model, device)}
            make = text.get(self.path)
            body = make().encode() if make else b"no\n"
            self.send_response(200 if make else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    torch.manual_seed(1)
    torch.use_deterministic_algorithms(True)
    # from the beginning: the allocator would keep what a conversion leaves, and a snapshot has it
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(args.device):
        model = Model(args.layers, args.width).eval()
    generate(model, args.device)
    address = ("127.0.0.1", args.port)
    http.server.HTTPServer(address, make_handler(model, args.device)).serve_forever()


if __name__ == "__main__":
    main()
