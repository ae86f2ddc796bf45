import torch
from torch import nn

from detector.model.pointwise import multiply_pointwise


def test_a_matrix_product_is_the_same_convolution() -> None:
    torch.manual_seed(0)
    for bias in (True, False):
        plain = nn.Conv2d(5, 7, 1, bias=bias).to(memory_format=torch.channels_last)
        maps = torch.randn(2, 5, 6, 9).contiguous(memory_format=torch.channels_last).requires_grad_()
        expected = plain(maps)
        (wanted,) = torch.autograd.grad(expected.square().sum(), maps)
        multiply_pointwise(plain)
        found = plain(maps)
        (gradient,) = torch.autograd.grad(found.square().sum(), maps)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(gradient, wanted)
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_other_convolutions_and_parameter_names_stay() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, stride=2), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1, groups=2)
    )
    names = list(network.state_dict())
    multiply_pointwise(network)
    assert [type(module) is nn.Conv2d for module in network] == [False, True, True, True]
    assert list(network.state_dict()) == names
