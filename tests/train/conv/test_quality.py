from echoform_train.conv.quality import bootstrap_groups


def test_blocks_are_as_long_as_leaves_twenty_of_them():
    groups, name = bootstrap_groups(400)
    assert name == "blocks of 10 images" and groups.tolist() == [index // 10 for index in range(400)]
    groups, name = bootstrap_groups(60)
    assert name == "blocks of 3 images" and len(set(groups.tolist())) == 20
    groups, name = bootstrap_groups(12)
    assert name == "images" and groups.tolist() == list(range(12))
