"""docs/load-balancers.md: its reasons, its values and its sweep of security groups."""

import re
from pathlib import Path

import jmespath
import yaml

from nanogrid.reasons import Reason
from nanogrid_operator.status.session import EXPOSURE_PROBLEMS
from support.load_balancer_controller import RULE_DESCRIPTION

PAGE = Path("docs/load-balancers.md").read_text(encoding="utf-8")


def test_the_page_explains_every_reason_of_a_way_in() -> None:
    listed = set(re.findall(r"^\| `([A-Z]\w+)` \|", PAGE, re.M)) - {"Router", "Service", "Ingress"}

    assert listed - {"TargetGroupBinding"} == {Reason.EXPOSURE_PENDING, *EXPOSURE_PROBLEMS}


def test_the_sweep_finds_the_rules_of_the_controller_only() -> None:
    (query,) = re.findall(r'--query "([^"]+)"', PAGE)
    rules = [
        {"SecurityGroupRuleId": "sgr-1", "FromPort": 9080, "Description": RULE_DESCRIPTION},
        {"SecurityGroupRuleId": "sgr-2", "FromPort": 9080, "Description": "The router"},
        {"SecurityGroupRuleId": "sgr-3", "FromPort": 443},
    ]

    assert jmespath.search(query, {"SecurityGroupRules": rules}) == ["sgr-1"]


def test_the_example_of_values_is_valid_and_opens_the_port_of_sessions() -> None:
    (text,) = re.findall(r"```yaml\n(sessions:.*?)```", PAGE, re.DOTALL)
    (rule,) = yaml.safe_load(text)["sessions"]["targetGroupBinding"]["networking"]["ingress"]

    assert rule["ports"] == [{"protocol": "TCP", "port": 9080}]


def test_the_page_lists_what_the_controller_needs() -> None:
    table = PAGE.partition("## Values of the AWS Load Balancer Controller")[2]
    named = set(re.findall(r"`(\w+)(?:: [^`]+)?`", table))

    assert named >= {
        "clusterName", "region", "vpcId", "enableShield", "enableWaf", "enableWafv2",
        "enableServiceMutatorWebhook", "defaultTargetType",
    }  # fmt: skip
