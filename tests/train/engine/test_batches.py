import torch

from echoform_train.engine.batches import BatchOrder


def test_each_epoch_sees_every_image_once_in_another_order():
    order = BatchOrder(num_images=50, seed=3)
    first, second = (order.draw(range(start, start + 50)).indices for start in (0, 50))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(50))
    assert not torch.equal(first, second)


def test_images_and_noise_of_a_position_do_not_depend_on_how_the_training_came_there():
    whole = BatchOrder(num_images=7, seed=0).draw(range(5, 15))
    resumed = BatchOrder(num_images=7, seed=0).draw(range(11, 15))
    assert torch.equal(whole.indices[6:], resumed.indices)
    assert torch.equal(whole.randn(2, 3)[6:], resumed.randn(2, 3))
    assert torch.equal(whole.rand()[6:], resumed.rand())


def test_an_image_that_comes_again_gets_other_noise():
    order = BatchOrder(num_images=1, seed=0)
    noise = order.draw(range(2)).randn(4)
    assert not torch.equal(noise[0], noise[1])
