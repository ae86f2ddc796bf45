"""The example of an indexed Job holds to Kubernetes' schema, to what the image promises, and to the command line."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.cli.work import work

ROOT = Path(__file__).parents[2]
JOB: dict[str, Any] = yaml.safe_load((ROOT / "jobs/kubernetes/job.yaml").read_text())
POD: dict[str, Any] = JOB["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


@pytest.mark.parametrize("version", ["1.33", "1.37"])  # the first with a backoffLimitPerIndex that is stable
def test_it_holds_to_the_schema(version: str) -> None:
    schema = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate, which has the schemas")
    schema.validate(JOB, version, strict=True)
    wrong = copy.deepcopy(JOB)
    wrong["spec"]["template"]["spec"]["tolerance"] = []
    with pytest.raises(schema.ValidationError, match="tolerance"):
        schema.validate(wrong, version, strict=True)


def test_every_pod_has_its_own_shard_and_together_they_have_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert JOB["spec"]["completionMode"] == "Indexed"
    for variable in CONTAINER["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    shards = []
    for index in range(JOB["spec"]["completions"]):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
        name, *arguments = CONTAINER["args"]
        assert name == work.name
        found = work.make_context(name, arguments).params
        assert found["device"] == "cuda"
        shards.append((found["shard"], found["shards"]))
    assert shards == [(index, len(shards)) for index in range(len(shards))]


def test_it_keeps_the_promises_of_the_image() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    user = POD["securityContext"]
    assert user["runAsNonRoot"] and f"USER {user['runAsUser']}:{user['runAsGroup']}\n" in dockerfile
    assert CONTAINER["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    (mount,), (volume,) = CONTAINER["volumeMounts"], POD["volumes"]
    assert f'VOLUME ["{mount["mountPath"]}"]\n' in dockerfile
    assert mount["name"] == volume["name"] and "emptyDir" in volume


def test_it_asks_for_a_gpu_on_a_spot_node_and_outlives_it() -> None:
    assert CONTAINER["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"nvidia.com/gpu", "cloud.google.com/gke-spot"} <= {taint["key"] for taint in POD["tolerations"]}
    ignored, failed = JOB["spec"]["podFailurePolicy"]["rules"]
    assert ignored["action"] == "Ignore" and ignored["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert failed["action"] == "FailJob" and failed["onExitCodes"]["containerName"] == CONTAINER["name"]
    assert POD["restartPolicy"] == "Never"  # Kubernetes refuses a podFailurePolicy with any other
