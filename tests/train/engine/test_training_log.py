from echoform_train.engine.training_log import append_to_log, cut_log, read_log


def test_a_resume_removes_what_was_logged_after_its_checkpoint(tmp_path):
    cut_log(tmp_path, 10)  # a training that has logged nothing yet
    for seen in (8, 16, 24):
        append_to_log(tmp_path, seen, {"train/loss": 1 / seen})
    cut_log(tmp_path, 16)
    assert read_log(tmp_path) == [{"seen": 8, "train/loss": 1 / 8}, {"seen": 16, "train/loss": 1 / 16}]
