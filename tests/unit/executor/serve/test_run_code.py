"""SandboxFusion's protocol: what clients send and rely on."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import httpx2
import pytest

from stepcoder_trl.errors import BadInputError
from stepcoder_trl.executor.serve.run_code import MAX_FETCHED_BYTES, parse_request
from tests.unit.executor.serve.conftest import Served


pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(sys.platform != "linux", reason="the sandbox isolates programs on Linux alone"),
]


def post(served: Served, **body: Any) -> dict[str, Any]:
    answer = httpx2.post(f"{served.url}/run_code", json={"language": "python", **body}, timeout=60)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_script_that_ends_well_is_a_success(served):
    answer = post(served, code="import sys\nprint(int(input()) + 1)\nprint('note', file=sys.stderr)", stdin="41\n")

    assert answer["status"] == "Success"
    assert answer["message"] == ""
    assert answer["compile_result"] is None
    result = answer["run_result"]
    assert (result["status"], result["return_code"]) == ("Finished", 0)
    assert (result["stdout"], result["stderr"]) == ("42\n", "note\n")
    assert 0 <= result["execution_time"] < 10
    assert answer["files"] == {}


@pytest.mark.parametrize(
    ("code", "return_code", "stdout", "stderr"),
    [
        (
            "print(1)\nraise ValueError('no')",
            1,
            "1\n",
            "line 2, in <module>\n    raise ValueError('no')\nValueError: no\n",
        ),
        ("print(1)\nprint(", 1, "", "SyntaxError"),
        ("print('\\0')\n\0", 1, "", "null bytes"),
        ("import sys\nprint(1)\nsys.exit(7)", 7, "1\n", ""),
        ("import sys\nsys.exit('over')", 1, "", "over\n"),
        ("import os\nprint(1, flush=True)\nos._exit(9)", 9, "1\n", ""),
        ("import ctypes\nctypes.string_at(0)", -11, "", "SIGSEGV"),
        ("bytearray(2**34)", 1, "", "MemoryError"),
        ("import os\nos.fork()", 1, "", "PermissionError"),
    ],
)
def test_script_that_fails_is_a_failed_run(served, code, return_code, stdout, stderr):
    answer = post(served, code=code)

    assert answer["status"] == "Failed"
    assert answer["run_result"]["status"] == "Finished"
    assert answer["run_result"]["return_code"] == return_code
    assert answer["run_result"]["stdout"] == stdout
    assert stderr in answer["run_result"]["stderr"]
    assert "_launch" not in answer["run_result"]["stderr"]


@pytest.mark.parametrize("code", ["while True: pass", "import time\ntime.sleep(60)"])
def test_endless_script_exceeds_its_time(served, code):
    answer = post(served, code=code, run_timeout=0.5)

    assert answer["status"] == "Failed"
    assert answer["run_result"]["status"] == "TimeLimitExceeded"


def test_script_runs_as_python_runs_it(served):
    code = (
        "import atexit, os, sys, threading\n"
        "print(__name__, __file__ == sys.argv[0], sys.path[0] == os.getcwd(), sys.stdin.read())\n"
        "print(sorted(globals()) == sorted(vars(sys.modules['__main__'])), '_launch' in globals())\n"
        "atexit.register(print, 'at exit')\n"
        "threading.Timer(0.05, print, ['thread']).start()\n"
        "import inspect\ndef f(): return 7\nprint(inspect.getsource(f), end='')\n"
    )

    answer = post(served, code=code, stdin="\u00e4")

    assert answer["run_result"]["stdout"] == (
        "__main__ True True \u00e4\nTrue False\ndef f(): return 7\nthread\nat exit\n"
    )


def test_files_come_and_go(served):
    code = "import data.numbers as d\nopen('out/sum.txt', 'w').write(str(sum(d.N)))\nprint(open('in.txt').read())"
    files = {"data/numbers.py": encoded("N = [1, 2]"), "in.txt": encoded("hello"), "out/x": encoded(""), "none": None}

    answer = post(served, code=code, files=files, fetch_files=["out/sum.txt", "missing", "out"])

    assert answer["status"] == "Success", answer
    assert answer["run_result"]["stdout"] == "hello\n"
    assert answer["files"] == {"out/sum.txt": encoded("3")}


def test_file_may_have_the_name_of_the_script(served):
    answer = post(served, code="import solution\nprint(solution.X)", files={"solution.py": encoded("X = 5")})

    assert answer["run_result"]["stdout"] == "5\n"


def test_link_leads_to_nothing_that_the_script_cannot_read(served):
    secret = "/proc/1/environ"
    code = f"import os\nos.symlink({secret!r}, 'link')\nos.symlink('/root', 'folder')"

    answer = post(served, code=code, fetch_files=["link", "folder/x"])

    assert answer["files"] == {}


def test_too_large_file_is_not_fetched(served):
    code = f"open('big', 'wb').write(bytes({MAX_FETCHED_BYTES + 1}))"

    answer = post(served, code=code, fetch_files=["big"])

    assert answer["status"] == "SandboxError"
    assert "'big'" in answer["message"]


def test_forged_report_changes_only_what_the_script_may_decide(served):
    code = (
        "import gc, sys\n"
        "report = next(o for o in gc.get_objects() if type(o).__name__ == '_Report')\n"
        "sys.stdout.write('before' + report.header['mark'] + '{\"status\": \"x\"}')\n"
        "sys.stdout.flush()\n"
        "report.header['mark'] = 'other'\n"
    )

    answer = post(served, code=code)

    assert answer["status"] == "Failed"


def test_other_language_is_a_sandbox_error(served):
    answer = post(served, code="int main() {}", language="cpp")

    assert answer["status"] == "SandboxError"
    assert answer["message"] == "This sandbox runs Python only, not 'cpp'."
    assert answer["run_result"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"code": None}, "`code`"),
        ({"run_timeout": "5"}, "`run_timeout`"),
        ({"run_timeout": 0}, "above 0"),
        ({"files": {"../x": ""}}, "folder of the script"),
        ({"files": {"/etc/x": ""}}, "folder of the script"),
        ({"files": {"a/../../x": ""}}, "folder of the script"),
        ({"files": {"": ""}}, "not a path"),
        ({"files": {"x\0": ""}}, "not a path"),
        ({"files": {"x": "?"}}, "not base64"),
        ({"files": []}, None),
        ({"files": [1]}, "`files`"),
        ({"fetch_files": ["/etc/passwd"]}, "folder of the script"),
        ({"fetch_files": "x"}, "`fetch_files`"),
        ({"memory_limit_MB": True}, "`memory_limit_MB`"),
    ],
)
def test_malformed_request_is_refused(change, words):
    body = {"code": "print()", "language": "python", **change}
    if words is None:
        parse_request(body)
        return

    with pytest.raises(BadInputError, match=words):
        parse_request(body)


def test_limits_of_the_service_hold(served):
    url = f"{served.url}/run_code"
    too_long = httpx2.post(url, json={"code": "", "language": "python", "run_timeout": 21})
    too_much = httpx2.post(url, json={"code": "", "language": "python", "memory_limit_MB": 5000})
    too_large = httpx2.post(url, json={"code": "#" * 2**21, "language": "python"})
    other_type = httpx2.post(url, content=json.dumps({"code": ""}), headers={"Content-Type": "text/plain"})

    assert [answer.status_code for answer in (too_long, too_much, too_large, other_type)] == [422, 422, 413, 415]
    assert all(answer.json()["detail"].endswith(".") for answer in (too_long, too_much, too_large, other_type))


# Bodies that clients of SandboxFusion send: their fields, in their form.


def test_client_of_verl(served):
    """It posts a program for each test, with all fields, and `stdin` may be null."""
    body = {
        "compile_timeout": 10,
        "run_timeout": 10,
        "code": "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
        "stdin": "1 2 3",
        "memory_limit_MB": 1024,
        "language": "python",
        "files": {},
        "fetch_files": [],
    }
    headers = {"Content-Type": "application/json", "Accept": "application/json"}

    answer = httpx2.post(f"{served.url}/run_code", content=json.dumps(body), headers=headers).json()
    without = httpx2.post(
        f"{served.url}/run_code", content=json.dumps({**body, "stdin": None}), headers=headers
    ).json()

    assert (answer["status"], answer["run_result"]["stdout"]) == ("Success", "6\n")
    assert (without["status"], without["run_result"]["stdout"]) == ("Success", "0\n")


def test_client_of_tinker_cookbook(served):
    """It posts a grader whose program and tests are files, and no other limit than `run_timeout`."""
    grader = (
        "import json, signal\n"
        "signal.alarm(5)\n"
        "tests = json.load(open('test_cases.txt'))\n"
        "space = {}\n"
        "exec(open('code.py').read(), space)\n"
        "results = [space['f'](case) == expected for case, expected in tests]\n"
        "print(json.dumps(results))\n"
        "raise SystemExit(0 if all(results) else 1)\n"
    )
    files = {"test_cases.txt": encoded("[[1, 2], [2, 4]]"), "code.py": encoded("f = lambda x: 2 * x")}
    wrong = {**files, "code.py": encoded("f = lambda x: x + 1")}

    right = post(served, code=grader, run_timeout=6, files=files)
    failed = post(served, code=grader, run_timeout=6, files=wrong)

    assert (right["status"], right["run_result"]["stdout"]) == ("Success", "[true, true]\n")
    assert (failed["status"], failed["run_result"]["stdout"]) == ("Failed", "[true, false]\n")


def test_ping(served):
    assert httpx2.get(f"{served.url}/v1/ping").json() == "pong"


def test_failed_script_is_counted_as_such(served):
    def count(outcome: str) -> float:
        line = f'stepcoder_programs_total{{outcome="{outcome}",protocol="run_code"}} '
        text = httpx2.get(f"{served.url}/metrics").text
        return sum(float(one.removeprefix(line)) for one in text.splitlines() if one.startswith(line))

    before = count("passed"), count("runtime_error")
    post(served, code="import sys\nsys.exit(3)")

    assert (count("passed"), count("runtime_error")) == (before[0], before[1] + 1)
