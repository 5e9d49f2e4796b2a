#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a tiny llama-architecture model that llama-server accepts: noise, but always the same.

The weights come from a frozen generator, so equal arguments give equal bytes on every machine.
The vocabulary is bytes alone (SentencePiece byte tokens after <unk>, <s>, </s>); the output
matrix leaves all but printable ASCII at zero, so a greedy completion is readable noise without an
end. It plays the engine's role where no trained model is at hand.
"""

import argparse
import os
import struct
import sys

import numpy as np

WIDTH, LAYERS, HEADS, KV_HEADS, FFN, CONTEXT = 64, 4, 8, 4, 192, 2048
SPECIAL = ["<unk>", "<s>", "</s>"]
VOCAB = len(SPECIAL) + 256
ALIGNMENT = 32

# GGUF value types, and the token types of tokenizer.ggml.token_type
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_BYTE = 2, 3, 6
TENSOR_F32 = 0


def pack_string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


PACKERS = {
    UINT32: lambda v: struct.pack("<I", v),
    INT32: lambda v: struct.pack("<i", v),
    FLOAT32: lambda v: struct.pack("<f", v),
    BOOL: lambda v: struct.pack("<?", v),
    STRING: pack_string,
}


def pack_field(key, kind, value):
    head = pack_string(key)
    if not isinstance(value, list):
        return head + struct.pack("<I", kind) + PACKERS[kind](value)
    items = b"".join(PACKERS[kind](item) for item in value)
    return head + struct.pack("<IIQ", ARRAY, kind, len(value)) + items


def fields():
    tokens = SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)]
    types = [TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_CONTROL] + [TOKEN_BYTE] * 256
    return [
        ("general.architecture", STRING, "llama"),
        ("general.name", STRING, "snapinit tiny noise"),
        ("general.alignment", UINT32, ALIGNMENT),
        ("llama.vocab_size", UINT32, VOCAB),
        ("llama.context_length", UINT32, CONTEXT),
        ("llama.embedding_length", UINT32, WIDTH),
        ("llama.block_count", UINT32, LAYERS),
        ("llama.feed_forward_length", UINT32, FFN),
        ("llama.attention.head_count", UINT32, HEADS),
        ("llama.attention.head_count_kv", UINT32, KV_HEADS),
        ("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5),
        ("llama.rope.dimension_count", UINT32, WIDTH // HEADS),
        ("tokenizer.ggml.model", STRING, "llama"),
        ("tokenizer.ggml.tokens", STRING, tokens),
        ("tokenizer.ggml.scores", FLOAT32, [0.0] * VOCAB),
        ("tokenizer.ggml.token_type", INT32, types),
        ("tokenizer.ggml.unknown_token_id", UINT32, 0),
        ("tokenizer.ggml.bos_token_id", UINT32, 1),
        ("tokenizer.ggml.eos_token_id", UINT32, 2),
        ("tokenizer.ggml.add_bos_token", BOOL, True),
        ("tokenizer.ggml.add_eos_token", BOOL, False),
        ("tokenizer.ggml.add_space_prefix", BOOL, False),
    ]


def tensors(seed):
    """(name, array) with rows as outputs, in the order of the file."""
    # RandomState, unlike default_rng, promises the same stream in every numpy
    random = np.random.RandomState(seed)

    def weights(rows, columns, gain):
        return (random.standard_normal((rows, columns)) * gain / columns**0.5).astype("<f4")

    def ones():
        return np.ones(WIDTH, dtype="<f4")

    kv_width = WIDTH // HEADS * KV_HEADS
    yield "token_embd.weight", weights(VOCAB, WIDTH, 8.0)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        yield block + "attn_norm.weight", ones()
        yield block + "attn_q.weight", weights(WIDTH, WIDTH, 2.0)
        yield block + "attn_k.weight", weights(kv_width, WIDTH, 2.0)
        yield block + "attn_v.weight", weights(kv_width, WIDTH, 2.0)
        yield block + "attn_output.weight", weights(WIDTH, WIDTH, 2.0)
        yield block + "ffn_norm.weight", ones()
        yield block + "ffn_gate.weight", weights(FFN, WIDTH, 2.0)
        yield block + "ffn_up.weight", weights(FFN, WIDTH, 2.0)
        yield block + "ffn_down.weight", weights(WIDTH, FFN, 2.0)
    yield "output_norm.weight", ones()
    output = weights(VOCAB, WIDTH, 4.0)
    first = len(SPECIAL)
    output[:first + 0x20] = 0.0
    output[first + 0x7F:] = 0.0
    yield "output.weight", output


def build(seed):
    """The whole file as bytes."""
    named = list(tensors(seed))
    described = fields()
    head = b"GGUF" + struct.pack("<IQQ", 3, len(named), len(described))
    head += b"".join(pack_field(*field) for field in described)
    offset, data = 0, b""
    for name, array in named:
        shape = array.shape[::-1]  # GGUF counts the innermost dimension first
        head += pack_string(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", n) for n in shape)
        head += struct.pack("<IQ", TENSOR_F32, offset)
        body = array.tobytes()
        body += bytes(-len(body) % ALIGNMENT)
        data += body
        offset += len(body)
    return head + bytes(-len(head) % ALIGNMENT) + data


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, metavar="FILE", help="where the model goes")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another model (%(default)s)")
    args = parser.parse_args()
    temporary = f"{args.out}.{os.getpid()}"
    try:
        with open(temporary, "wb") as file:
            file.write(build(args.seed))
        os.replace(temporary, args.out)
    except OSError as error:
        print(f"make_tiny_gguf: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
