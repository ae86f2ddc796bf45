import torch

from detector.model.heads import RegionHead


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


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    head = RegionHead(4, 7, 32, classes=3, dropout=0.5)
    pooled = torch.randn(2, 4, 7, 7)
    assert not torch.equal(head(pooled)[0], head(pooled)[0])
    head.eval()
    assert torch.equal(head(pooled)[0], head(pooled)[0])
