# SPDX-License-Identifier: Apache-2.0
"""What is woken: each case is an engine of a certain size, its requests, and the files it reads."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass

from failure import BenchError, say

PORT = 8000  # every start has a network of its own
PYTHON = "/usr/bin/python3"
MIB = 1 << 20
BIG_MODEL = "1.1b"  # preset of make_gguf.py
SMALL_MODEL = "../shared/models/stories260K.gguf"  # from the project's root
RAG_IMPORTS = "import fastapi, numpy, scipy, sklearn, uvicorn"
RAG_PATH = "/ask?q=how+do+I+design+a+butterworth+filter"
BIG_MODEL_MAKERS = ("tools/make_gguf.py", "../shared/tools/make_gguf.py")


def get(path):
    return (f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").encode()


def post(path, body):
    return (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


def whole(body):
    return body.decode()


def completion(body):
    return json.loads(body)["content"]


@dataclass(frozen=True)
class Case:
    name: str
    argv: tuple
    memory: int  # about what the engine holds, for settling the host
    answer: bytes = get("/answer")
    touch: bytes = None  # None: the answer itself uses all of the memory
    stable: callable = whole  # the part of the answer that must not change
    files: tuple = ()  # read at boot or mapped: warm or evicted like a snapshot
    env: tuple = ()
    options: tuple = ("--engine", "http", "--oracle", f"GET http://127.0.0.1:{PORT}/answer")

    @property
    def snapinit_options(self):
        return ["--ready", f"http://127.0.0.1:{PORT}/health", *self.options]


class Maker:
    """Makes a case when it is asked for, for what it needs may take time or be missing."""

    def __init__(self, programs, work):
        self.programs = programs
        self.work = work  # kept between runs

    def heap(self, name, memory, *more):
        argv = (self.programs.fixture("heap_engine"), "--port", str(PORT), *more)
        return Case(name, argv, memory, touch=get("/touch"))

    def node(self):
        node = shutil.which("node")
        if node is None:
            raise BenchError("node is not installed")
        script = self.programs.fixture("node_service.js")
        # libuv's io_uring is what CRIU refuses; snapinit would take it away by itself
        return Case("node-100M", (node, script, "--port", str(PORT), "--megabytes", "100"),
                    160 * MIB, answer=get("/page?9999"), touch=get("/touch"),
                    env=(("UV_USE_IO_URING", "0"),))

    def rag(self):
        script = os.path.join(self.programs.source, "examples/rag-agent/agent.py")
        if not os.path.exists(script):
            raise BenchError(f"there is no {script}")
        packages = subprocess.run([PYTHON, "-c", RAG_IMPORTS], stderr=subprocess.DEVNULL,
                                  check=False)
        if packages.returncode:
            raise BenchError(f"'{RAG_IMPORTS}' fails")
        model = self.small_model()
        argv = (PYTHON, "-B", script, "--port", str(PORT), "--model", model, "--llama-server",
                os.path.join(self.programs.prefix, "bin/llama-server"))
        return Case("rag-agent", argv, 512 * MIB, answer=get(RAG_PATH), files=(model,),
                    options=("--engine", "http", "--oracle",
                             f"GET http://127.0.0.1:{PORT}{RAG_PATH}"))

    def llama(self, name, model, memory, tokens, *more):
        # One thread: two of ggml's wait for each other spinning, for long on a busy machine. Not
        # repacked: weights that are mapped stay so, and nothing needs AMX, whose permission CRIU
        # does not restore (the engine dies of SIGILL).
        argv = (self.programs.paths["LLAMA_LDSO"], "--library-path",
                self.programs.paths["LLAMA_LIBPATH"], self.programs.paths["LLAMA_BIN"],
                "-m", model, "--host", "127.0.0.1", "--port", str(PORT), "-c", "256", "-np", "1",
                "-t", "1", "--no-webui", "--log-disable", "--no-repack", *more)
        body = json.dumps({"prompt": "Once upon a time", "n_predict": tokens, "temperature": 0,
                           "seed": 1, "cache_prompt": False, "ignore_eos": True})
        # the adapter's own oracle is 24 tokens, for which a large model has not the time
        return Case(name, argv, memory, answer=post("/completion", body.encode()),
                    stable=completion, files=(model,),
                    options=("--engine", "llama-server", "--oracle",
                             f"POST http://127.0.0.1:{PORT}/completion {body}"))

    def small_model(self):
        real = os.path.normpath(os.path.join(self.programs.source, SMALL_MODEL))
        made = os.path.join(self.work, "tiny.gguf")
        if os.path.exists(real):
            return os.path.realpath(real)
        if not os.path.exists(made):
            tool = os.path.join(self.programs.source, "tools/make_tiny_gguf.py")
            subprocess.run([PYTHON, tool, "--out", made], check=True, stdout=subprocess.DEVNULL)
        return made

    def big_model(self):
        made = os.path.join(self.work, f"{BIG_MODEL}-q8_0.gguf")
        base = os.path.normpath(os.path.join(self.programs.source, SMALL_MODEL))
        tools = [os.path.normpath(os.path.join(self.programs.source, tool))
                 for tool in BIG_MODEL_MAKERS]
        tools = [tool for tool in tools if os.path.exists(tool)]
        if os.path.exists(made):
            return made
        if not tools or not os.path.exists(base):
            raise BenchError(f"no make_gguf.py, or no {base} to make a large model from")
        say(f"making {made}")
        subprocess.run([PYTHON, tools[0], "--base", base, "--preset", BIG_MODEL, "--type", "q8_0",
                        "--out", made], check=True, stdout=subprocess.DEVNULL)
        return made

    def llama_big(self, name, *more):
        model = self.big_model()
        return self.llama(name, model, os.path.getsize(model) + 256 * MIB, 1, *more)

    def table(self):
        """{name: function that makes the case}, in the order in which they run."""
        return {
            "heap-tiny": lambda: self.heap("heap-tiny", MIB, "--heap", "512K"),
            "heap-256M": lambda: self.heap("heap-256M", 256 * MIB, "--heap", "256M"),
            "heap-1G": lambda: self.heap("heap-1G", 1024 * MIB, "--heap", "1G"),
            "heap-1G-half-zero": lambda: self.heap("heap-1G-half-zero", 1024 * MIB, "--heap", "1G",
                                                   "--zero-half"),
            "shm-256M": lambda: self.heap("shm-256M", 256 * MIB, "--heap", "512K", "--shm", "256M"),
            "rag-agent": self.rag,
            "node-100M": self.node,
            "llama-260K": lambda: self.llama("llama-260K", self.small_model(), 32 * MIB, 12),
            "llama-1.1B-mapped": lambda: self.llama_big("llama-1.1B-mapped"),
            "llama-1.1B-memory": lambda: self.llama_big("llama-1.1B-memory", "--load-mode", "none"),
        }
