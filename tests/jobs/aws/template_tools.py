"""The CloudFormation template as data, with its conditions and references resolved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

TEMPLATE = Path(__file__).parents[3] / "jobs/aws/template.yaml"
PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "boxcar",
}
# Parameters: as few as possible, and nearly all.
NETWORK = {"ImageTag": "v1", "Subnets": "subnet-1", "SecurityGroups": "sg-1"}
FULL = NETWORK | {
    "TrainingImageTag": "v1-training",
    "GpuImageTag": "v1-gpu",
    "InputPrefix": "2024/",
    "InputKeyArn": "arn:key-in",
    "OutputKeyArn": "arn:key-out",
    "AlarmEmail": "us@example.org",
    "ScheduleState": "ENABLED",
    "ScheduleTimezone": "Europe/Berlin",
    "RunDays": "30",
}
# What stands for `!Ref AWS::NoValue` until it is dropped.
NOTHING = object()


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms."""


def _long_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".")
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _long_form)


def load_template() -> dict[str, Any]:
    """The template in long form."""
    template: dict[str, Any] = yaml.load(TEMPLATE.read_text(), _Loader)
    return template


def values_of(template: dict[str, Any], given: dict[str, str]) -> dict[str, Any]:
    """Every parameter's value: the given ones, and defaults."""
    defaults = {name: parameter.get("Default") for name, parameter in template["Parameters"].items()}
    return defaults | given


def conditioned(given: dict[str, str]) -> dict[str, Any]:
    """The template without conditions, as they are with these parameters."""
    template = load_template()
    values = values_of(template, given)
    conditions = template.pop("Conditions")
    holds = {name: _truth(condition, values, conditions) for name, condition in conditions.items()}

    def settle(node: Any) -> Any:
        if isinstance(node, dict):
            if "Fn::If" in node:
                name, yes, no = node["Fn::If"]
                return settle(yes if holds[name] else no)
            if node == {"Ref": "AWS::NoValue"}:
                return NOTHING
            settled = {key: settle(value) for key, value in node.items()}
            return {key: value for key, value in settled.items() if value is not NOTHING}
        if isinstance(node, list):
            return [value for value in map(settle, node) if value is not NOTHING]
        return node

    resources = {
        name: resource
        for name, resource in template["Resources"].items()
        if holds.get(resource.pop("Condition", ""), True)
    }
    return settle(template | {"Resources": resources})


def rendered(given: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The resources' properties with every reference as text: `<Name>` or `<Name.Attribute>` of another resource."""
    template = conditioned(given)
    values = values_of(template, given)

    def name_of(reference: str) -> Any:
        if reference in PSEUDO:
            return PSEUDO[reference]
        return values.get(reference, f"<{reference}>")

    def settle(node: Any) -> Any:
        if isinstance(node, dict):
            if "Ref" in node:
                return name_of(node["Ref"])
            if "Fn::GetAtt" in node:
                return f"<{'.'.join(node['Fn::GetAtt'])}>"
            if "Fn::Sub" in node:
                text, extra = node["Fn::Sub"] if isinstance(node["Fn::Sub"], list) else (node["Fn::Sub"], {})
                own = {key: settle(value) for key, value in extra.items()}
                return re.sub(r"\$\{([^}]+)\}", lambda found: str(own.get(found[1]) or name_of(found[1])), text)
            return {key: settle(value) for key, value in node.items()}
        return [settle(value) for value in node] if isinstance(node, list) else node

    return {name: settle(resource.get("Properties", {})) for name, resource in template["Resources"].items()}


def _truth(condition: dict[str, Any], values: dict[str, Any], conditions: dict[str, Any]) -> bool:
    if "Condition" in condition:
        return _truth(conditions[condition["Condition"]], values, conditions)
    if "Fn::Or" in condition:
        return any(_truth(part, values, conditions) for part in condition["Fn::Or"])
    if "Fn::Not" in condition:
        return not _truth(condition["Fn::Not"][0], values, conditions)
    left, right = condition["Fn::Equals"]
    return str(values[left["Ref"]]) == str(right)
