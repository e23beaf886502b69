"""A stand-in of the Hugging Face Hub: the part of its HTTP API that its client calls, over repositories in memory.

Run as a program it is a client: a process with the Hub's address in its environment, as users have it, that calls
functions of `cosmotok.checkpoint.hub` as lines of JSON on standard input tell it (see `Client`).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".jit", ".pt")  # kept in large-file storage, at an address of its own
REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
REVISION = r"(?P<revision>[^/]+)"


@dataclass
class Repo:
    """A repository: its commits, each all of its files, and the names of some."""

    private: bool = False
    gated: bool = False
    readers: set[str] = field(default_factory=set)
    """Users who may read it if it is private or gated; its owner may."""
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Adds files to a branch; returns the commit's hash."""
        tree = self.commits.get(self.refs.get(branch, ""), {}) | files
        content = json.dumps({name: hashlib.sha1(data).hexdigest() for name, data in sorted(tree.items())})
        sha = hashlib.sha1(f"{len(self.commits)} {content}".encode()).hexdigest()
        self.commits[sha] = tree
        self.refs[branch] = sha
        return sha

    def files(self, branch: str = "main") -> dict[str, bytes]:
        return self.commits[self.refs[branch]]


class RefusalError(Exception):
    """An answer that is an error, with the header by which the client knows which."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        self.status, self.code, self.message = status, code, message


class HubServer:
    """The stand-in, on a port of this machine, from `start` to `stop`."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.renamed: dict[str, str] = {}
        self.users = {"hf_reader": "reader", "hf_me": "me", "hf_looker": "me"}
        """Whose each token is."""
        self.writers = {"hf_me"}
        """Tokens with the right to write."""
        self.large: dict[str, bytes] = {}
        self.log: list[tuple[str, str, int]] = []
        """Method, path and status of every request."""
        self.broken: int | None = None
        """Status that everything is answered with, if any."""
        self.connections: list[socket.socket] = []
        self.withheld: set[str] = set()
        """Names of large files whose contents are not sent."""
        self._port = 0
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def cdn(self) -> str:
        """Where large files are: another host, as the client sees it, to which it must not send its token."""
        return f"http://localhost:{self._port}"

    def start(self) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", self._port), type("Bound", (Handler,), {"hub": self}))
        self._server, self._port = server, server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Nothing listens at the address any more, until `start`."""
        self._server.shutdown()
        self._server.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def reset(self) -> None:
        self.repos.clear()
        self.renamed.clear()
        self.log.clear()
        self.withheld.clear()
        self.broken = None

    def downloaded(self) -> list[str]:
        """Names of the files whose contents were sent, in order."""
        paths = [path for method, path, status in self.log if method == "GET" and status == 200]
        return [unquote(match[1]) for path in paths if (match := re.search(r"/resolve/[^/]+/(.+)", path))]


class Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.hub.connections.append(self.connection)

    def answer(self) -> None:
        path = urlsplit(self.path).path
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        try:
            if self.hub.broken:
                raise RefusalError(self.hub.broken)
            status, headers, data = self.route(path)
        except RefusalError as refusal:
            status, headers, data = refusal.status, {"X-Error-Code": refusal.code}, b'{"error": "refused"}'
            if refusal.message:
                headers["X-Error-Message"] = refusal.message
        self.hub.log.append((self.command, path, status))
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - names that http.server prescribes

    def log_message(self, *args: object) -> None:
        pass

    # Finding what answers ------------------------------------------------------------------------------------------

    def route(self, path: str) -> tuple[int, dict[str, str], bytes]:
        routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("GET", rf"/api/models/{REPO}(/revision/{REVISION})?", self.info),
            ("GET", rf"/api/models/{REPO}/tree/{REVISION}", self.tree),
            ("GET|HEAD", rf"/{REPO}/resolve/{REVISION}/(?P<name>.+)", self.resolve),
            ("GET|HEAD", r"/cdn/(?P<oid>\w+)/.*/(?P<name>[^/]+)", self.cdn),
            ("POST", r"/api/repos/create", self.create),
            ("POST", rf"/api/models/{REPO}/branch/(?P<branch>[^/]+)", self.branch),
            ("POST", r"/api/validate-yaml", self.validate),
            ("POST", rf"/api/models/{REPO}/preupload/{REVISION}", self.preupload),
            ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", self.batch),
            ("PUT", r"/lfs/(?P<oid>\w+)", self.store),
            ("POST", r"/lfs/verify", self.verify),
            ("POST", rf"/api/models/{REPO}/commit/{REVISION}", self.commit),
        ]
        for method, pattern, function in routes:
            match = re.fullmatch(pattern, path)
            if match and re.fullmatch(method, self.command):
                known = {key: unquote(value) for key, value in match.groupdict().items() if value is not None}
                if known.get("repo") in self.hub.renamed:
                    new = path.replace(known["repo"], self.hub.renamed[known["repo"]], 1)
                    return 307, {"Location": new}, b""
                result = function(**known)
                return result if isinstance(result, tuple) else (200, {}, json.dumps(result).encode())
        raise RefusalError(404, "EntryNotFound")

    def user(self) -> str | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in self.hub.users:
            raise RefusalError(401, message="Invalid credentials in Authorization header")
        return self.hub.users.get(token)

    def may_read(self, name: str, repo: Repo) -> bool:
        user = self.user()
        return user is not None and (user in repo.readers or name.startswith(f"{user}/"))

    def readable(self, name: str) -> Repo:
        repo, user = self.hub.repos.get(name), self.user()
        if repo is None or (repo.private and not self.may_read(name, repo)):
            raise RefusalError(401 if user is None else 404, "RepoNotFound")
        return repo

    def writable(self, name: str) -> Repo:
        self.check_owner(name)
        return self.readable(name)

    def check_owner(self, name: str) -> None:
        user = self.user()
        if user is None:
            raise RefusalError(401, message="Invalid username or password.")
        token = self.headers["Authorization"].removeprefix("Bearer ")
        if not name.startswith(f"{user}/") or token not in self.hub.writers:
            raise RefusalError(403, message="You don't have the rights to write there")

    def sha(self, repo: Repo, revision: str) -> str:
        sha = repo.refs.get(revision, revision)
        if sha not in repo.commits:
            raise RefusalError(404, "RevisionNotFound")
        return sha

    # Reading -------------------------------------------------------------------------------------------------------

    def info(self, repo: str, revision: str = "main") -> Any:
        found = self.readable(repo)
        sha = self.sha(found, revision)
        siblings = [{"rfilename": name, "size": size_of(data)} for name, data in found.commits[sha].items()]
        facts = {"id": repo, "modelId": repo, "sha": sha, "private": found.private, "siblings": siblings}
        return facts | {"gated": "auto" if found.gated else False, "downloads": 0, "likes": 0, "tags": []}

    def tree(self, repo: str, revision: str) -> Any:
        found = self.readable(repo)
        files = found.commits[self.sha(found, revision)].items()
        return [{"type": "file", "path": n, "oid": git_oid(d), "size": size_of(d)} for n, d in files]

    def resolve(self, repo: str, revision: str, name: str) -> Any:
        found = self.readable(repo)
        if found.gated and not self.may_read(repo, found):
            raise RefusalError(401 if self.user() is None else 403, "GatedRepo")
        sha = self.sha(found, revision)
        if name not in found.commits[sha]:
            raise RefusalError(404, "EntryNotFound")
        data, headers = found.commits[sha][name], {"X-Repo-Commit": sha}
        if not name.endswith(LARGE):
            if name in self.hub.withheld:
                raise RefusalError(404)
            return 200, headers | {"ETag": f'"{git_oid(data)}"'}, data
        oid = hashlib.sha256(data).hexdigest()
        self.hub.large[oid] = data
        linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(data))}
        return 302, headers | linked | {"Location": f"{self.hub.cdn}/cdn/{oid}{urlsplit(self.path).path}"}, b""

    def cdn(self, oid: str, name: str) -> Any:
        if name in self.hub.withheld:
            raise RefusalError(404)
        if "Authorization" in self.headers:
            raise RefusalError(400, message="a token went astray")
        return 200, {"ETag": f'"{oid}"'}, self.hub.large[oid]

    # Writing -------------------------------------------------------------------------------------------------------

    def create(self) -> Any:
        wish = json.loads(self.body)
        name = f"{wish.get('organization') or self.user()}/{wish['name']}"
        self.check_owner(name)
        private = wish.get("private") or wish.get("visibility") == "private"
        status = 409 if name in self.hub.repos else 200
        if status == 200:
            self.hub.repos[name] = Repo(private=bool(private))
            self.hub.repos[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        return status, {}, json.dumps({"url": f"{self.hub.address}/{name}", "name": name}).encode()

    def branch(self, repo: str, branch: str) -> Any:
        found = self.writable(repo)
        if branch in found.refs:
            raise RefusalError(409)
        found.refs[branch] = found.refs["main"]
        return {}

    def validate(self) -> Any:
        import yaml

        match = re.match(r"---\n(.*?)\n---\n", json.loads(self.body)["content"], re.DOTALL)
        try:
            facts = yaml.safe_load(match[1]) if match else {}
            wrong = [] if isinstance(facts, dict) else ["expected a mapping"]
            if facts.get("license") not in (None, "apache-2.0", "mit", "other"):
                wrong.append('"license" must be one of a list')
        except yaml.YAMLError as error:
            wrong = [str(error)]
        answer = {"errors": [{"message": message} for message in wrong], "warnings": []}
        return 400 if wrong else 200, {}, json.dumps(answer).encode()

    def preupload(self, repo: str, revision: str) -> Any:
        self.sha(self.writable(repo), revision)
        names = [file["path"] for file in json.loads(self.body)["files"]]
        modes = {name: "lfs" if name.endswith(LARGE) else "regular" for name in names}
        return {"files": [{"path": n, "uploadMode": mode, "shouldIgnore": False} for n, mode in modes.items()]}

    def batch(self, repo: str) -> Any:
        self.writable(repo)
        objects = json.loads(self.body)["objects"]
        for item in objects:
            if item["oid"] not in self.hub.large:
                upload, verify = f"{self.hub.address}/lfs/{item['oid']}", f"{self.hub.address}/lfs/verify"
                item["actions"] = {"upload": {"href": upload, "header": {}}, "verify": {"href": verify, "header": {}}}
        return {"transfer": "basic", "objects": objects}

    def store(self, oid: str) -> Any:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise RefusalError(400)
        self.hub.large[oid] = self.body
        return {}

    def verify(self) -> Any:
        wish = json.loads(self.body)
        if len(self.hub.large.get(wish["oid"], b"")) != wish["size"]:
            raise RefusalError(400)
        return {}

    def commit(self, repo: str, revision: str) -> Any:
        found = self.writable(repo)
        files: dict[str, bytes] = {}
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
        sha = found.commit(files, revision)
        return {"commitUrl": f"{self.hub.address}/{repo}/commit/{sha}", "commitOid": sha, "pullRequestUrl": None}


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def size_of(data: bytes) -> int:
    """Of a file; one that starts with `SIZE ` pretends to be as large as it says."""
    return int(data[5:]) if data.startswith(b"SIZE ") else len(data)


# The other side -----------------------------------------------------------------------------------------------------


class HubError(Exception):
    """What a call in the client's process raised: the name of its class, and its text."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Client:
    """A process with its own environment that calls functions of `cosmotok.checkpoint.hub`."""

    def __init__(self, address: str, home: Path, before: Callable[[], None] | None = None, **environment: str) -> None:
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        # Uploads go by the protocol of git-lfs: the stand-in has no store of the newer kind.
        variables |= {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
        command = [sys.executable, __file__]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=variables | environment, preexec_fn=before, **pipes)
        self.notices: list[str] = []
        """What the last call logged as a warning."""

    def __call__(self, function: str, *args: Any, **options: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        print(json.dumps([function, args, options], default=str), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        self.notices = answer["notices"]
        if "error" in answer:
            raise HubError(*answer["error"])
        return answer["value"]

    def fetch(self, repo: str, **options: Any) -> Path:
        return Path(self("fetch", repo, **options))

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def serve_calls() -> None:
    from cosmotok.checkpoint import hub

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notices.append(record.getMessage())

    notices: list[str] = []
    hub.log.addHandler(Keep())
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is no answer
    for line in sys.stdin:
        notices.clear()
        function, args, options = json.loads(line)
        try:
            if function == "publish":
                args[0] = Path(args[0])
            answer: dict[str, Any] = {"value": str(getattr(hub, function)(*args, **options))}
        except Exception as error:
            answer = {"error": [type(error).__name__, str(error)]}
        print(json.dumps(answer | {"notices": notices}), file=answers, flush=True)


if __name__ == "__main__":
    serve_calls()
