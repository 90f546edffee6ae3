"""The examples that `make demo` and the e2e tests use, without a cluster."""

import ast
import csv
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from examples.sales import generate
from nanogrid import names
from nanogrid.api.function import Function
from nanogrid.api.job import ExecutionJob
from nanogrid.client.jobs.packing import zip_directory
from scripts.demo import CODE_KEY, INPUT_PREFIX, TOTAL_LINE, expected_total

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
SALES = EXAMPLES / "sales/function"
SHA256 = "e0ad2cf5f282799c6f75ce1963e7a36f2c6015a10e55e517fd15ecf42bf5693c"
HEADERS = ["날짜", "카테고리", "제품명", "수량", "단가", "금액"]


def load(name: str) -> ExecutionJob:
    return ExecutionJob.model_validate(yaml.safe_load((EXAMPLES / name).read_text("utf-8")))


def sales_rows() -> list[dict[str, str]]:
    text = generate.csv_bytes().decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def run_sales(workspace: Path) -> "subprocess.CompletedProcess[str]":
    """Run the function as main.py in its working directory, as the sandbox does."""
    (workspace / "main.py").write_bytes((SALES / "main.py").read_bytes())
    # -I: only the standard library and the function itself.
    return subprocess.run(
        [sys.executable, "-I", "-X", "utf8", "main.py"],
        cwd=workspace,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


class TestManifests:
    @pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
    def test_is_an_execution_job(self, file: Path) -> None:
        job = load(file.name)
        assert job.api_version == names.API_VERSION
        assert job.kind == names.KIND

    def test_hello_is_eight_lines_of_inline_code(self) -> None:
        lines = (EXAMPLES / "hello.yaml").read_text("utf-8").splitlines()
        assert len(lines) == 8
        assert not [line for line in lines if not line.strip() or "#" in line]
        assert load("hello.yaml").spec.code.inline == 'print("Hello from a sandbox")\n'

    def test_sales_reads_what_the_demo_uploads(self) -> None:
        spec = load("sales.yaml").spec
        assert spec.function_id == "sales"
        assert spec.code.s3 is not None
        assert spec.code.s3.key == f"default/{CODE_KEY}"
        assert spec.inputs[0].s3.prefix == f"default/{INPUT_PREFIX}"
        assert spec.inputs[0].mount_path == names.DEFAULT_DATA_PATH

    def test_sales_report_reads_what_sales_reads_in_the_data_runtime(self) -> None:
        spec, sales = load("sales-report.yaml").spec, load("sales.yaml").spec
        assert spec.inputs == sales.inputs
        assert spec.runtime is not None
        assert spec.runtime.image == "nanogrid-python-data"  # README.md says where to put the tag
        assert spec.outputs is not None
        assert spec.outputs.include == ["*.png", "*.pdf", "*.xlsx"]

    def test_sales_report_imports_what_the_data_runtime_has(self) -> None:
        files = list((EXAMPLES / "sales/report").glob("*.py"))
        own = {file.stem for file in files}
        used: set[str] = set()
        for file in files:
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    used |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    used.add(node.module.partition(".")[0])
        foreign = used - own - set(sys.stdlib_module_names)
        assert foreign == {"matplotlib", "openpyxl", "pandas", "reportlab"}
        assert not own & set(sys.stdlib_module_names)


class TestGenerator:
    def test_the_bytes_are_always_the_same(self) -> None:
        data = generate.csv_bytes()
        assert data == generate.csv_bytes()
        assert hashlib.sha256(data).hexdigest() == SHA256
        assert 108_000 <= len(data) <= 116_000

    def test_is_a_csv_as_saved_by_excel(self) -> None:
        data = generate.csv_bytes()
        assert data.startswith(b"\xef\xbb\xbf")
        assert data.count(b"\r\n") == data.count(b"\n") == generate.ROWS + 1
        assert '"삼겹살(구이용, 600g)"'.encode() in data

    def test_has_the_headers_and_consistent_rows(self) -> None:
        rows = sales_rows()
        assert list(rows[0]) == HEADERS
        assert len(rows) == generate.ROWS
        assert {row["카테고리"] for row in rows} == set(generate.PRODUCTS)
        assert all(int(row["금액"]) == int(row["수량"]) * int(row["단가"]) for row in rows)
        days = [row["날짜"] for row in rows]
        assert days == sorted(days)
        assert (days[0], days[-1]) == ("2025-07-01", "2025-09-30")


class TestSalesFunction:
    @pytest.fixture
    def workspace(self, tmp_path: Path) -> Path:
        (tmp_path / "data").mkdir()
        return tmp_path

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8", "cp949"])
    def test_total_equals_an_independent_sum(self, workspace: Path, encoding: str) -> None:
        data = generate.csv_bytes().decode("utf-8-sig").encode(encoding)
        (workspace / "data/sales.csv").write_bytes(data)
        done = run_sales(workspace)
        assert (done.returncode, done.stderr) == (0, "")
        total = expected_total(generate.csv_bytes())
        assert total == sum(int(row["금액"]) for row in sales_rows())
        assert TOTAL_LINE.format(total) in done.stdout
        report = json.loads((workspace / "output/report.json").read_text("utf-8"))
        assert report["total"] == total == sum(report["categories"].values())
        assert report["rows"] == generate.ROWS

    def test_writes_the_categories_for_excel(self, workspace: Path) -> None:
        (workspace / "data/sales.csv").write_bytes(generate.csv_bytes())
        run_sales(workspace)
        text = (workspace / "output/categories.csv").read_bytes().decode("utf-8-sig")
        written = list(csv.DictReader(io.StringIO(text, newline="")))
        assert list(written[0]) == ["카테고리", "판매건수", "수량", "금액"]
        expected: dict[str, list[int]] = {}
        for row in sales_rows():
            sums = expected.setdefault(row["카테고리"], [0, 0, 0])
            sums[0] += 1
            sums[1] += int(row["수량"])
            sums[2] += int(row["금액"])
        values = {w["카테고리"]: [int(w[k]) for k in list(w)[1:]] for w in written}
        assert values == expected
        assert [w["금액"] for w in written] == [
            str(won) for won in sorted((s[2] for s in expected.values()), reverse=True)
        ]

    def test_adds_up_all_files(self, workspace: Path) -> None:
        for name in ("a.csv", "b.csv"):
            (workspace / "data" / name).write_bytes(generate.csv_bytes())
        total = 2 * expected_total(generate.csv_bytes())
        assert TOTAL_LINE.format(total) in run_sales(workspace).stdout

    @pytest.mark.parametrize("text", [None, ",".join(HEADERS) + "\r\n"], ids=["no file", "no row"])
    def test_without_sales_it_fails_without_output(self, workspace: Path, text: str | None) -> None:
        if text is not None:
            (workspace / "data/sales.csv").write_text(text, "utf-8")
        done = run_sales(workspace)
        assert done.returncode == 1
        assert "판매 내역이 없습니다" in done.stderr
        assert not (workspace / "output").exists()

    def test_names_a_missing_column(self, workspace: Path) -> None:
        (workspace / "data/sales.csv").write_text("날짜,수량\n2025-07-01,1\n", "utf-8")
        done = run_sales(workspace)
        assert done.returncode == 1
        assert done.stderr == "data/sales.csv: 열이 없습니다: 카테고리, 금액\n"


class TestGreetFunction:
    def test_reads_stdin_args_and_env_and_writes_output(self, tmp_path: Path) -> None:
        spec = load("function.yaml").spec
        done = subprocess.run(
            [sys.executable, EXAMPLES / "function/main.py", *(spec.args or [])],
            cwd=tmp_path,
            env={variable.name: variable.value for variable in spec.env} | {"PYTHONUTF8": "1"},
            input=spec.stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        assert done.stdout == "안녕하세요, 민지!\n안녕하세요, Jiho!\n"
        assert (tmp_path / "output/greetings.txt").read_text("utf-8") == done.stdout


class TestFunction:
    def test_the_job_refers_to_the_function_and_its_checksum_is_inserted(self) -> None:
        text = (EXAMPLES / "functions/greet.yaml").read_text("utf-8")
        job, alone = load("functionref.yaml").spec, load("function.yaml").spec
        digest = hashlib.sha256(zip_directory(EXAMPLES / "function")).hexdigest()
        function = Function.model_validate(yaml.safe_load(text.replace("ZIP_SHA256", digest)))

        assert job.function_ref is not None
        assert function.metadata["name"] == job.function_ref.name
        assert function.spec.newest.s3.sha256 == digest
        assert alone.code is not None
        assert alone.code.s3 is not None
        assert function.spec.newest.s3.key == alone.code.s3.key
        assert (function.spec.env, function.spec.command) == (alone.env, alone.command)
        assert (job.args, job.stdin) == (alone.args, alone.stdin)
