"""Which outputs of a DETR are logits and boxes."""

import pytest

from detector.common.errors import ArtifactError
from detector.runtime.kinds.detr import detr_outputs


@pytest.mark.parametrize(
    ("names", "shapes", "expected"),
    [
        (["last_hidden_state", "logits", "pred_boxes"], [[1, 5, 256], [1, 5, 80], [1, 5, 4]], ("logits", "pred_boxes")),
        (["labels", "dets"], [[1, 5, 4], [1, 5, 4]], ("labels", "dets")),  # four classes
        (["a", "b"], [[1, 5, 80], [1, 5, 4]], ("a", "b")),
        (["b", "a"], [[1, 5, 4], [1, 5, 80]], ("a", "b")),
    ],
)
def test_names_decide_before_shapes(names: list[str], shapes: list[list[int]], expected: tuple[str, str]) -> None:
    assert detr_outputs(names, shapes) == expected


def test_other_outputs_are_refused() -> None:
    with pytest.raises(ArtifactError, match="are not logits and boxes"):
        detr_outputs(["scores"], [[1, 5, 80]])
