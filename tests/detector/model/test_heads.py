import torch

from detector.model.heads import THIN, LightHead, LinearHead, RegionHead, SvmHead


def test_each_region_gets_classes_with_background_and_a_box_a_class() -> None:
    head = RegionHead(channels=4, bins=7, hidden=8, classes=3, dropout=0.0)
    for regions in (0, 1, 5):
        logits, deltas = head(torch.randn(regions, 4, 7, 7))
        assert logits.shape == (regions, 4) and deltas.shape == (regions, 3, 4)


def test_training_starts_from_uniform_classes_and_unmoved_boxes() -> None:
    torch.manual_seed(0)
    logits, deltas = RegionHead(8, 7, 64, classes=20, dropout=0.0)(torch.randn(10, 8, 7, 7))
    assert (logits.softmax(dim=1) - 1 / 21).abs().max() < 0.01
    assert 0 < deltas.abs().max() < 0.02


def test_a_light_head_reads_thin_maps() -> None:
    head = LightHead(bins=7, hidden=8, classes=3, dropout=0.0)
    for regions in (0, 5):
        logits, deltas = head(torch.randn(regions, THIN, 7, 7))
        assert logits.shape == (regions, 4) and deltas.shape == (regions, 3, 4)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    head = RegionHead(4, 7, 32, classes=3, dropout=0.5)
    pooled = torch.randn(2, 4, 7, 7)
    assert not torch.equal(head(pooled)[0], head(pooled)[0])
    head.eval()
    assert torch.equal(head(pooled)[0], head(pooled)[0])


def test_a_linear_head_starts_like_the_other() -> None:
    torch.manual_seed(0)
    logits, deltas = LinearHead(320, classes=20)(torch.randn(10, 320))
    assert logits.shape == (10, 21) and deltas.shape == (10, 20, 4)
    assert (logits.softmax(dim=1) - 1 / 21).abs().max() < 0.05 and 0 < deltas.abs().max() < 0.1


def test_svms_score_by_themselves_and_in_the_order_of_their_margins() -> None:
    head = SvmHead(2, classes=3)
    head.margins.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [0, 0]]))
    head.margins.bias[:2] = 0
    margins = torch.tensor([[-1.2, 0.0], [-1.0, 3.0], [0.0, -1.2], [1.0, 1.0]])
    scores, deltas = head(margins)
    assert scores.shape == (4, 3) and deltas.shape == (4, 3, 4) and not deltas.any()
    assert torch.equal(scores[:, :2].argsort(dim=0), margins.argsort(dim=0))
    assert (scores[2, 0], scores[0, 1]) == (0.5, 0.5)
    assert scores[0, 0] < 0.01 < scores[1, 0]  # easy negatives end below the usual least score
    assert (scores[:, 2] < 1e-9).all()
    assert head(torch.zeros(0, 2))[0].shape == (0, 3)
