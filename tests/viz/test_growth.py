from cnnlab.viz.curves import plot_parameter_growth


def test_growth_is_a_picture() -> None:
    assert plot_parameter_growth([8, 16], [100, 400], [10, 10], "t").shape[-1] == 3
