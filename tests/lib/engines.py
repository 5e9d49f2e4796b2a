# SPDX-License-Identifier: Apache-2.0
"""The engines that the tests run: how each is started, when it is ready, what it must answer."""

import json
import os
import subprocess
import shutil
import urllib.parse
from dataclasses import dataclass, field, replace

PYTHON = "/usr/bin/python3"  # the distribution's own: one earlier in PATH may lack numpy

RAG_MODULES = ("fastapi", "numpy", "scipy", "sklearn", "uvicorn")
RAG_QUESTIONS = ("how do I design a butterworth filter", "what is the kernel of a support vector",
                 "may I redistribute modified source code", "zzzzqqq")

SHARED_MODEL = "../shared/models/stories260K.gguf"  # from the project's root


@dataclass(frozen=True)
class Engine:
    name: str
    argv: tuple
    port: int
    ready: str = None
    oracle: str = None
    path: str = "/check"
    method: str = "GET"
    body: str = None
    stable: callable = field(default=lambda body: body)  # the part that must not change

    def ask(self, start, *, seconds=30):
        """The part of the engine's answer that must be the same for ever."""
        return self.stable(start.wait_http(self.port, self.path, method=self.method,
                                           body=self.body, seconds=seconds))

    def try_ask(self, start, timeout=5):
        """None when it does not answer, or not well."""
        answer = start.try_http(self.port, self.path, method=self.method, body=self.body,
                                timeout=timeout)
        return self.stable(answer[1]) if answer and answer[0] == 200 else None


def _served(name, argv, port, **more):
    url = f"http://127.0.0.1:{port}"
    path = more.get("path", "/check")
    return Engine(name, tuple(argv), port, ready=f"{url}/health", oracle=f"GET {url}{path}", **more)


def _fixture(programs, name, port, *more, **options):
    argv = [programs.fixture(name), "--port", str(port), *more]
    return _served(name, argv, port, **options)


def model_for(programs):
    """The real small model where it is at hand, else one of noise that the project makes."""
    real = os.environ.get("SNAP_MODEL") or os.path.normpath(
        os.path.join(programs.source, SHARED_MODEL))
    if os.path.exists(real):
        return os.path.realpath(real)
    made = os.path.join(programs.build, "tiny.gguf")
    if not os.path.exists(made):
        subprocess.run(["/usr/bin/python3", os.path.join(programs.source, "tools/make_tiny_gguf.py"),
                        "--out", made + ".new"], check=True, stdout=subprocess.DEVNULL)
        os.rename(made + ".new", made)
    return made


def llama(programs, port=8085):
    model = model_for(programs)
    body = json.dumps({"prompt": "Once upon a time", "n_predict": 12, "temperature": 0, "seed": 1,
                       "cache_prompt": False, "ignore_eos": True})
    # one thread: two of ggml's wait for each other spinning, for seconds on a machine that is busy
    argv = [os.path.join(programs.prefix, "bin/llama-server"), "-m", model, "--host", "127.0.0.1",
            "--port", str(port), "-c", "256", "-np", "1", "-t", "1", "--no-webui"]
    return Engine("llama-server", tuple(argv), port, path="/completion", method="POST", body=body,
                  stable=lambda answer: json.loads(answer)["content"].encode())


def static_service(programs, port=8000):
    """The smallest engine there is: a static C program of one process."""
    return _fixture(programs, "static_service", port, path="/answer")


def with_argv(engine, more):
    """The same engine with more arguments."""
    return replace(engine, argv=engine.argv + tuple(more))


def threads16(programs, port=8001):
    return _fixture(programs, "threads16", port)


def forktree(programs, port=8002):
    return _fixture(programs, "forktree", port)


def files_engine(programs, port=8003, *more):
    return _fixture(programs, "files_engine", port, *more)


def stdio_echo(programs, port=8004):
    return _fixture(programs, "stdio_echo", port)


def exit_status(programs, port=8005, *, status=0, delay_ms=0):
    return _fixture(programs, "exit_status", port, "--status", str(status), "--delay-ms",
                    str(delay_ms))


def heap_engine(programs, port=8009, *more):
    return _fixture(programs, "heap_engine", port, *more, path="/touch")


def random_tree(programs, port, seed, *more):
    return _fixture(programs, "random_tree", port, "--seed", str(seed), *more)


def inherited_maps(programs, port=8012):
    """Three processes that have the same mappings, with other protections and locks."""
    return _fixture(programs, "inherited_maps", port)


def has_amx():
    with open("/proc/cpuinfo", encoding="ascii") as text:
        return any(line.startswith("flags") and "amx_tile" in line.split() for line in text)


def amx_engine(programs, port=8011, *more):
    """Computes with AMX tiles. None where there are none."""
    return _fixture(programs, "amx_engine", port, *more) if has_amx() else None


def pyservice(programs, port=8006):
    argv = [PYTHON, "-B", programs.fixture("pyservice.py"), "--port", str(port)]
    return _served("pyservice", argv, port, path="/answer")


def sleeping(programs, kind, port, *more, **options):
    """A stand-in for kind, "vllm" or "sglang", whose readiness the adapter knows."""
    script = programs.fixture("sleeping_engine.py")
    argv = [PYTHON, "-B", os.path.join(os.path.dirname(script), "stand_ins", kind), "serve",
            "--port", str(port), *more]
    return Engine(kind, tuple(argv), port, path="/answer", **options)


def notifying(programs, port=8006):
    """The same, but it says itself that it is ready."""
    return replace(with_argv(pyservice(programs, port), ("--notify",)), ready="notify")


def signal_service(programs, port=8012):
    argv = [PYTHON, "-B", programs.fixture("signal_service.py"), "--port", str(port)]
    return _served("signal_service", argv, port)


def rag_agent(programs, port=8010):
    """The example: an index in Python and llama-server, its child. None without its packages."""
    script = ("import importlib.util, sys; "
              "sys.exit(not all(importlib.util.find_spec(name) for name in sys.argv[1:]))")
    if subprocess.run([PYTHON, "-c", script, *RAG_MODULES], check=False).returncode != 0:
        return None
    agent = os.path.join(programs.source, "examples/rag-agent/agent.py")
    argv = [PYTHON, "-B", agent, "--port", str(port), "--model", model_for(programs),
            "--llama-server", os.path.join(programs.prefix, "bin/llama-server")]
    return _served("rag_agent", argv, port, path=rag_path(RAG_QUESTIONS[0]))


def rag_path(question):
    return "/ask?" + urllib.parse.urlencode({"q": question})


def shared_memory(programs, port=8021):
    argv = [PYTHON, "-B", programs.fixture("shared_memory.py"), "--port", str(port)]
    return _served("shared_memory", argv, port, path="/answer")


def node_service(programs, port=8007, *more):
    node = shutil.which("node")
    if node is None:
        return None
    argv = [node, programs.fixture("node_service.js"), "--port", str(port), *more]
    return _served("node_service", argv, port, path="/answer")


def pipeline(programs, port=8008):
    """What a shell makes of a | b | c, the shell at its root."""
    end = os.path.join(programs.source, "tests/criu/pipeline_end.py")
    script = ("i=0; while :; do i=$((i + 1)); echo $i; sleep 0.05; done |"
              f" sed -u s/^/n/ | {PYTHON} -B {end} {port}; echo over")
    return _served("pipeline", ["/bin/sh", "-c", script], port, path="/answer")
