"""The sales report: the runtime python-data with pandas, charts and a PDF in Korean."""

import json
from pathlib import Path

import yaml

from examples.sales.generate import csv_bytes
from nanogrid import names
from nanogrid.client.jobs.packing import zip_directory
from scripts.devaccess import DevAccess
from support.kubectl import Namespace

EXAMPLES = Path("examples")
PNG = b"\x89PNG\r\n\x1a\n"


def test_report_has_charts_and_a_pdf_with_a_korean_font(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    folder = namespace.key(f"t/{request_id}")
    code, data = f"{folder}/report.zip", f"{folder}/in/"
    dev.s3.put_object(Bucket=dev.bucket, Key=code, Body=zip_directory(EXAMPLES / "sales/report"))
    dev.s3.put_object(Bucket=dev.bucket, Key=f"{data}sales.csv", Body=csv_bytes())
    job = yaml.safe_load((EXAMPLES / "sales-report.yaml").read_text())
    job["spec"]["requestId"] = request_id
    job["spec"]["runtime"]["image"] = json.loads(Path("build/images.json").read_text())[
        "python-data"
    ]
    job["spec"]["code"]["s3"]["key"] = code
    job["spec"]["inputs"][0]["s3"] = {"prefix": data}

    status = namespace.run(job)

    assert status["phase"] == "Succeeded", status["message"]
    assert "128,425,270원" in status["result"]["stdout"]
    prefix = namespace.key(names.outputs_prefix(request_id))
    files = {
        o["Key"].removeprefix(prefix): o["Key"]
        for o in dev.s3.list_objects_v2(Bucket=dev.bucket, Prefix=prefix)["Contents"]
    }
    assert {"sales-by-category.png", "sales-by-day.png", "sales-report.pdf"} <= set(files)
    body = {
        name: dev.s3.get_object(Bucket=dev.bucket, Key=key)["Body"].read()
        for name, key in files.items()
    }
    assert body["sales-by-category.png"].startswith(PNG)
    assert body["sales-report.pdf"].startswith(b"%PDF")
    assert b"NanumGothic" in body["sales-report.pdf"]
