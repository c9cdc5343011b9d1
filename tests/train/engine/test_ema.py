import pytest
import torch
from diffusers.training_utils import EMAModel

from echoform_train.engine.ema import averaged, ema_tensors, load_averages, make_ema, restore_ema


@pytest.mark.parametrize("decay", [0.9, 0.999, 1.0])
def test_the_averages_are_bit_for_bit_those_of_diffusers(decay):
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(3, 8, 3)
    model = torch.nn.Sequential(convolution, torch.nn.GroupNorm(2, 8))
    with torch.no_grad():  # weights so small that the first difference from them is rounded
        convolution.weight[0] *= 1e-7
    ours, theirs = make_ema(model, decay), EMAModel(model.parameters(), decay=decay, foreach=True)
    for _ in range(200):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.01 * torch.randn_like(parameter)
        ours.update_parameters(model)
        theirs.step(model.parameters())
        pairs = zip(ours.module.parameters(), theirs.shadow_params, strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert ema_tensors(ours)["optimization_step"] == theirs.optimization_step == 200


def test_averages_put_the_own_weights_back_and_survive_a_checkpoint():
    model = torch.nn.Linear(2, 2)
    ema = make_ema(model, decay=0.9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    ema.update_parameters(model)
    own = [parameter.clone() for parameter in model.parameters()]
    with averaged(model, ema):
        inside = [parameter.clone() for parameter in model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(own, model.parameters(), strict=True))
    again = make_ema(torch.nn.Linear(2, 2), decay=0.9)
    restore_ema(again, ema_tensors(ema))
    assert ema_tensors(again)["optimization_step"] == 1
    assert all(torch.equal(a, b) for a, b in zip(inside, again.module.parameters(), strict=True))


def test_the_model_is_put_back_where_a_validation_fails():
    model = torch.nn.Linear(2, 2)
    ema = make_ema(model, decay=0.9)
    own = model.weight.detach().clone()
    with torch.no_grad():
        for average in ema.module.parameters():
            average.add_(1.0)
    with pytest.raises(FloatingPointError), averaged(model, ema):
        assert not torch.equal(model.weight, own)
        raise FloatingPointError
    assert torch.equal(model.weight, own)


def test_the_averages_of_a_checkpoint_go_into_a_model():
    model, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    ema = make_ema(model, decay=0.9)
    load_averages(other, ema_tensors(ema))
    assert torch.equal(other.weight, model.weight) and torch.equal(other.bias, model.bias)
