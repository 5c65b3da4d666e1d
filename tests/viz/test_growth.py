from cnnlab.viz.curves import growth_figure


def test_growth_is_a_picture() -> None:
    assert growth_figure([8, 16], [100, 400], [10, 10], "t").shape[-1] == 3
