#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A small agent that answers questions about scipy, scikit-learn and licenses from their own texts.

At start it cuts the docstrings of both libraries and the texts of /usr/share/common-licenses into
passages, makes vectors of them (TF-IDF, reduced by a truncated SVD), and starts llama-server as its
child. It listens once both are ready.

  GET /health           200 while the index is there and llama-server is healthy, else 503
  GET|POST /ask?q=...   {"passages": [{"id", "score"}, ...], "answer": text}; the same question has
                        the same answer in every process

One container, one process tree: the agent ends llama-server, and ends when llama-server does.
No connection outlives its request, neither that of the caller nor that to llama-server: an open one
would keep a snapshot from being taken.
"""

import os

# before numpy is imported: threads of BLAS would make the sums depend on the machine's cores
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402
import ast  # noqa: E402
import glob  # noqa: E402
import http.client  # noqa: E402
import json  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402

import numpy  # noqa: E402
import scipy  # noqa: E402
import sklearn  # noqa: E402
import uvicorn  # noqa: E402
from fastapi import FastAPI, HTTPException, Query  # noqa: E402
from sklearn.decomposition import TruncatedSVD  # noqa: E402
from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: E402
from sklearn.preprocessing import normalize  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

PASSAGE_CHARS = 700  # at most, but for one paragraph that is longer
PASSAGE_MIN_CHARS = 120
PASSAGES_WANTED = 5000
TERMS = 20000
DIMENSIONS = 96
TOP = 3

CONTEXT_TOKENS = 512
ANSWER_TOKENS = 24
PROMPT_PASSAGE_CHARS = 200  # a token may be one byte
QUESTION_CHARS = 160
LLAMA_START_S = 60
LLAMA_ANSWER_S = 60


class AgentError(Exception):
    """Why the agent cannot start, in one line."""


def say(text):
    print(f"rag-agent: {text}", file=sys.stderr, flush=True)


# --- passages -------------------------------------------------------------------------------------

def read_text(path):
    with open(path, encoding="utf-8", errors="replace") as text:
        return text.read()


def docstrings(path, module):
    """(qualified name, docstring) of the module and all that is defined in it."""
    waiting = [(module, ast.parse(read_text(path)))]
    while waiting:
        name, node = waiting.pop(0)
        text = ast.get_docstring(node)
        if text:
            yield name, text
        waiting += [(f"{name}.{child.name}", child) for child in node.body
                    if isinstance(child, (ast.ClassDef, ast.FunctionDef))]


def modules(folder, package):
    """(path, module name) of a package's sources without its tests, in an order that lasts."""
    for path in sorted(glob.glob(os.path.join(folder, "**/*.py"), recursive=True)):
        parts = os.path.relpath(path, folder)[:-len(".py")].split(os.sep)
        if "tests" not in parts:
            yield path, ".".join([package, *parts])


def documents():
    """(name, text) of everything that is to be found."""
    for path in sorted(glob.glob("/usr/share/common-licenses/*")):
        if not os.path.islink(path):
            yield os.path.basename(path), read_text(path)
    for package in (scipy, sklearn):
        for path, module in modules(os.path.dirname(package.__file__), package.__name__):
            yield from docstrings(path, module)


def passages_of(text):
    """Paragraphs, put together until they are long enough."""
    part = ""
    for paragraph in text.split("\n\n"):
        paragraph = " ".join(paragraph.split())
        if part and len(part) + len(paragraph) >= PASSAGE_CHARS:
            yield part
            part = ""
        part = f"{part} {paragraph}".strip()
    if part:
        yield part


def all_passages():
    """(id, text) in the same order in every process on one machine."""
    found = [(f"{name}#{number}", text) for name, document in documents()
             for number, text in enumerate(passages_of(document))
             if len(text) >= PASSAGE_MIN_CHARS]
    if len(found) < PASSAGES_WANTED:
        raise AgentError(f"{len(found)} passages found, {PASSAGES_WANTED} wanted")
    return found


# --- index ----------------------------------------------------------------------------------------

class Index:
    def __init__(self, passages):
        self.passages = passages
        self.terms = TfidfVectorizer(max_features=TERMS, sublinear_tf=True, stop_words="english")
        weights = self.terms.fit_transform(text for _, text in passages)
        self.reduction = TruncatedSVD(n_components=DIMENSIONS, random_state=0)
        self.vectors = normalize(self.reduction.fit_transform(weights)).astype(numpy.float32)

    def nearest(self, question):
        """[(passage id, text, cosine)], best first; the earlier passage where two are equal."""
        weights = self.terms.transform([question])
        vector = normalize(self.reduction.transform(weights)).astype(numpy.float32)[0]
        scores = self.vectors @ vector
        best = numpy.argsort(-scores, kind="stable")[:TOP]
        return [(*self.passages[i], round(float(scores[i]), 4)) for i in best]


# --- llama-server ---------------------------------------------------------------------------------

class Llama:
    """llama-server as our child; one connection a request, closed after it."""

    def __init__(self, program, model, port):
        self.port = port
        self.ending = False
        self.process = subprocess.Popen(
            [program, "-m", model, "--host", "127.0.0.1", "--port", str(port), "-np", "1",
             "-c", str(CONTEXT_TOKENS), "-t", "1", "--no-webui", "--log-disable"],
            stdin=subprocess.DEVNULL)

    def request(self, method, path, body=None, timeout=5):
        """(status, body)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers={
                "Connection": "close", "Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def healthy(self):
        try:
            return self.request("GET", "/health")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def wait_healthy(self):
        deadline = time.monotonic() + LLAMA_START_S
        while not self.healthy():
            if self.process.poll() is not None:
                raise AgentError(f"llama-server has ended with {self.process.returncode}")
            if time.monotonic() > deadline:
                raise AgentError(f"llama-server is not healthy after {LLAMA_START_S} s")
            time.sleep(0.01)

    def complete(self, prompt):
        # cache_prompt: an answer must not depend on the question before it
        body = json.dumps({"prompt": prompt, "n_predict": ANSWER_TOKENS, "temperature": 0,
                           "seed": 1, "cache_prompt": False, "ignore_eos": True})
        status, answer = self.request("POST", "/completion", body, LLAMA_ANSWER_S)
        if status != 200:
            raise OSError(f"llama-server answered {status}")
        return json.loads(answer)["content"]

    def end_with_us(self):
        """Its end ends the agent too: half a tree is of no use."""
        def watch():
            status = self.process.wait()
            if not self.ending:
                say(f"llama-server has ended with {status}")
                os.kill(os.getpid(), signal.SIGTERM)
        threading.Thread(target=watch, daemon=True).start()

    def end(self):
        self.ending = True
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# --- service --------------------------------------------------------------------------------------

def service(index, llama):
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    def health():
        if not llama.healthy():
            raise HTTPException(503, "llama-server is not healthy")
        return {"passages": len(index.passages)}

    @app.api_route("/ask", methods=["GET", "POST"])
    def ask(q: str = Query(min_length=1, max_length=QUESTION_CHARS)):
        nearest = index.nearest(q)
        prompt = f"{nearest[0][1][:PROMPT_PASSAGE_CHARS]}\n{q}\n"
        try:
            answer = llama.complete(prompt)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            raise HTTPException(502, f"llama-server: {error}") from error
        return {"passages": [{"id": name, "score": score} for name, _, score in nearest],
                "answer": answer}

    return app


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8090, help="port to listen on (%(default)s)")
    parser.add_argument("--llama-server", metavar="PROGRAM",
                        default=os.path.join(ROOT, "build/prefix/bin/llama-server"),
                        help="(%(default)s)")
    parser.add_argument("--llama-port", type=int, metavar="PORT",
                        help="loopback port of llama-server (the agent's, plus one)")
    parser.add_argument("--model", required=True, help="GGUF file")
    args = parser.parse_args()
    if args.llama_port is None:
        args.llama_port = args.port + 1
    for path in (args.llama_server, args.model):
        if not os.path.exists(path):
            parser.error(f"{path} does not exist")
    return args


def main():
    args = parse_args()
    # until uvicorn takes them over, so that llama-server does not outlive us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    llama = Llama(args.llama_server, args.model, args.llama_port)
    try:
        began = time.monotonic()
        index = Index(all_passages())
        say(f"{len(index.passages)} passages indexed in {time.monotonic() - began:.1f} s")
        llama.wait_healthy()
        llama.end_with_us()
        # uvloop would use io_uring, and a kept-alive connection would be open at a capture
        uvicorn.run(service(index, llama), host=args.host, port=args.port, loop="asyncio",
                    http="h11", lifespan="off", log_level="warning", access_log=False,
                    headers=[("Connection", "close")])
    except AgentError as error:
        say(error)
        return 1
    finally:
        llama.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
