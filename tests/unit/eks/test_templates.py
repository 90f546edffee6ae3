"""The templates of the EKS package as they are written; no stack is made of them."""

import json
import re

from scripts.eks import PLACEHOLDER
from support.cloudformation import load
from support.eks_network import EKS

FILLED = {p.name for p in EKS.glob("*.yaml") if PLACEHOLDER.search(p.read_text())
          and ".cfn" not in p.name}  # fmt: skip


def test_all_files_but_templates_are_filled_in() -> None:
    assert {p.name for p in EKS.glob("*.yaml")} == {
        *FILLED, "base.cfn.yaml", "platform.cfn.yaml", "tenant.cfn.yaml",
    }  # fmt: skip


def test_no_file_has_an_account_an_id_or_a_region_of_its_own() -> None:
    for file in EKS.glob("*.yaml"):
        text = file.read_text()
        for word in ("123456789012", "ap-northeast", "sg-0", "vpc-", "subnet-", "arn:aws:iam"):
            assert word not in text.replace("vpc-cni", ""), (file.name, word)


def test_the_s3_endpoints_reach_the_bucket_and_image_layers_only() -> None:
    template = load(EKS / "base.cfn.yaml")["Resources"]
    policies = [
        template[name]["Properties"]["PolicyDocument"]
        for name in ("S3Endpoint", "S3SubnetEndpoint")
    ]

    assert policies[0] == policies[1]
    own, layers = policies[0]["Statement"]
    assert own["Resource"] == [{"Fn::GetAtt": ["Bucket", "Arn"]}, {"Fn::Sub": "${Bucket.Arn}/*"}]
    assert layers["Action"] == "s3:GetObject"
    assert "starport-layer-bucket" in layers["Resource"]["Fn::Sub"]


def test_two_installations_in_one_account_have_names_of_their_own() -> None:
    for file in EKS.glob("*.cfn.yaml"):
        for name, resource in load(file)["Resources"].items():
            for key, value in resource.get("Properties", {}).items():
                if key.endswith(("Name", "Id")) and not isinstance(value, str):
                    continue
                assert key not in ("RoleName", "BucketName", "RepositoryName", "UserId"), name


# https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-rules.html
RULE_FUNCTIONS = {
    "Fn::And", "Fn::Contains", "Fn::EachMemberEquals", "Fn::EachMemberIn", "Fn::Equals", "Fn::Not",
    "Fn::Or", "Fn::RefAll", "Fn::ValueOf", "Fn::ValueOfAll", "Ref",
}  # fmt: skip


def test_rules_use_the_functions_of_rules_only() -> None:
    rules = {file: load(file).get("Rules", {}) for file in EKS.glob("*.cfn.yaml")}
    assert any(rules.values())
    for found in rules.values():
        text = json.dumps(found)
        assert set(re.findall(r'"(Fn::\w+|Ref)":', text)) <= RULE_FUNCTIONS
