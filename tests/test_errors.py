from tlkeras.errors import unknown_name


def test_the_nearest_name_comes_first():
    message = str(unknown_name("backbone", "resnet5", ["mobilenet", "resnet50"]))
    assert message == ("unknown backbone. Did you mean 'resnet50'? Legal: mobilenet, resnet50. Received: 'resnet5'")


def test_nothing_near_is_no_hint():
    assert "Did you mean" not in str(unknown_name("backbone", "zzz", ["mobilenet"]))
