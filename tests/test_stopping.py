"""When to stop and which size to take, by hand on made-up paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coppice.parts.fitness import Step
from coppice.parts.stopping import STOPS, Budget, OneStandardError, Peak, Tolerance, smoothed


def path(*scores: float, error: float | None = 0.01, fitness=None, widths=None, flops=None) -> list[Step]:
    """Networks of 100, 90, 80 ... neurons, with ten parameters each."""
    widths = widths or [100 - 10 * i for i in range(len(scores))]
    fitness = fitness or [None] * len(scores)
    return [
        Step(
            index=i,
            widths=(width,),
            parameters=10 * width,
            flops=None if flops is None else flops[i],
            score=score,
            error=error,
            fitness=f,
        )
        for i, (score, width, f) in enumerate(zip(scores, widths, fitness, strict=True))
    ]


# --- smoothing ----------------------------------------------------------------------------------------------


def test_the_ends_are_smoothed_over_what_there_is():
    assert smoothed([1.0, 2.0, 6.0, 3.0], 3) == [1.5, 3.0, 11 / 3, 4.5]
    assert smoothed([1.0, 2.0, 6.0], 5) == [3.0, 3.0, 3.0]
    assert smoothed([1.0, 2.0, 6.0], 1) == [1.0, 2.0, 6.0]
    assert smoothed([], 3) == []


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12), st.sampled_from([1, 3, 5]))
def test_a_smoothed_value_stays_among_its_neighbours(values, width):
    means, half = smoothed(values, width), width // 2
    assert len(means) == len(values)
    for i, mean in enumerate(means):
        near = values[max(0, i - half) : i + half + 1]
        assert min(near) - 1e-12 <= mean <= max(near) + 1e-12


# --- OneStandardError ---------------------------------------------------------------------------------------


def test_one_standard_error_takes_the_smallest_within_the_bar():
    # bar .96 - .01 = .95
    choice = OneStandardError(smooth=1).choose(path(0.94, 0.96, 0.955, 0.951, 0.949))
    assert choice.step == 3
    assert "0.9500" in choice.reason
    assert choice.warnings == ()


def test_smoothing_decides_against_a_single_lucky_score():
    scores = path(0.95, 0.95, 0.95, 0.90, 0.95)
    assert OneStandardError(smooth=1).choose(scores).step == 4  # bar .94
    # means .95 .95 .9333 .9333 .925, bar .94
    assert OneStandardError(smooth=3).choose(scores).step == 1


def test_more_errors_allow_less():
    scores = path(0.96, 0.955, 0.945, 0.935, 0.90)
    assert [OneStandardError(errors=k, smooth=1).choose(scores).step for k in (0, 1, 2, 2.6)] == [0, 1, 2, 3]


def test_the_error_is_that_of_the_best_step():
    steps = path(0.96, 0.93, 0.90, error=0.5)
    assert OneStandardError(smooth=1).choose(steps).step == 2
    steps[0] = path(0.96, error=0.01)[0]
    assert OneStandardError(smooth=1).choose(steps).step == 0


def test_a_smaller_network_within_the_bar_wins_over_a_dip_before_it():
    assert OneStandardError(smooth=1).choose(path(0.96, 0.90, 0.955)).step == 2


def test_equal_scores_go_to_the_smallest():
    assert OneStandardError().choose(path(0.9, 0.9, 0.9, 0.9)).step == 3


def test_the_plateau_spans_the_steps_within_the_bar():
    steps = path(0.94, 0.96, 0.90, 0.955, 0.80)
    assert OneStandardError(smooth=1).plateau(steps) == (70, 90)


def test_one_standard_error_gives_up_after_three_low_steps_in_a_row():
    rule = OneStandardError(smooth=1)  # low is under .96 - .03 = .93
    assert rule.finished(path(0.96, 0.92, 0.92)) is None
    assert rule.finished(path(0.96, 0.92, 0.94, 0.92)) is None
    assert rule.finished(path(0.96, 0.92, 0.92, 0.92)) == "score under best - 3 standard errors for 3 steps"
    assert rule.finished(path(0.96, 0.92, 0.92, 0.92, 0.94)) is None
    assert OneStandardError(smooth=1, patience=1, give_up=5).finished(path(0.96, 0.92)) is None


def test_one_standard_error_says_how_to_get_an_error():
    for act in (OneStandardError().choose, OneStandardError().finished, OneStandardError().plateau):
        with pytest.raises(ValueError, match=r"one number a sample.*Score\(value, error\).*Tolerance"):
            act(path(0.9, 0.9, error=None))


# --- Peak ---------------------------------------------------------------------------------------------------


def test_peak_takes_the_greatest_fitness_above_the_floor():
    steps = path(0.9, 0.9, 0.9, 0.9, 0.9, fitness=[None, 0.5, 0.8, 0.6, 2.0], widths=[50, 40, 30, 20, 10])
    choice = Peak().choose(steps)
    assert choice.step == 2
    assert "0.8000" in choice.reason
    assert choice.warnings == ()


def test_peak_passes_over_the_dead():
    steps = path(0.1, 0.1, 0.5, 0.9, 0.8, fitness=[None, 3.0, 2.0, 0.7, 0.6])
    assert Peak().choose(steps).step == 3  # alive is .72 and more
    assert Peak(alive=0.5).choose(steps).step == 2
    assert Peak(alive=0.0).choose(steps).step == 1


def test_peak_of_negative_scores_passes_over_the_dead_too():
    # best -1: alive is -1.2 and more
    steps = path(-1.0, -1.1, -3.0, -1.15, fitness=[None, -1.0, 5.0, -1.1])
    assert Peak().choose(steps).step == 1


def test_peak_says_when_the_floor_chose():
    steps = path(0.9, 0.9, 0.9, 0.9, fitness=[None, 0.5, 0.6, 0.9], widths=[40, 30, 20, 10])
    choice = Peak(floor=20).choose(steps)
    assert choice.step == 2
    (warning,) = choice.warnings
    assert "20 neurons, floor 20" in warning


def test_equal_peaks_go_to_the_larger_network():
    assert Peak().choose(path(0.9, 0.9, 0.9, 0.9, fitness=[None, 0.5, 0.5, 0.1])).step == 1


def test_peak_runs_the_whole_path():
    assert Peak().finished(path(0.9, 0.9, 0.1, 0.1, 0.1, fitness=[None, 0.9, 0.1, 0.1, 0.1])) is None


def test_peak_refuses_a_start_below_its_floor_at_the_first_cut():
    small = path(0.9, 0.9, fitness=[None, 0.5], widths=[19, 15])
    for act in (Peak().finished, Peak().choose):
        with pytest.raises(ValueError, match=r"20 neurons or more.*lower `floor`"):
            act(small)


def test_peak_refuses_to_choose_among_the_dead():
    steps = path(0.1, 0.1, 0.1, 0.9, fitness=[None, 0.9, 0.8, 0.1], widths=[60, 50, 40, 10])
    with pytest.raises(ValueError, match="20 neurons or more is dead"):
        Peak().choose(steps)


# --- Tolerance ----------------------------------------------------------------------------------------------


def test_tolerance_needs_no_error():
    scores = path(0.960, 0.957, 0.956, 0.954, error=None)
    assert Tolerance(smooth=1).choose(scores).step == 2
    assert Tolerance(loss=0.0, smooth=1).choose(scores).step == 0
    assert Tolerance(loss=1.0).choose(scores).step == 3


def test_tolerance_gives_up_after_three_steps_three_times_as_low():
    rule = Tolerance(loss=0.01, smooth=1)  # low is under .93
    assert rule.finished(path(0.96, 0.92, 0.92)) is None
    assert rule.finished(path(0.96, 0.92, 0.94, 0.92)) is None
    assert rule.finished(path(0.96, 0.92, 0.92, 0.92)) == "score more than 0.03 under the best for 3 steps"


# --- Budget -------------------------------------------------------------------------------------------------


def test_budget_takes_the_largest_that_fits():
    steps = path(0.9, 0.9, 0.9, flops=[60, 50, 40])  # 1000, 900, 800 parameters
    assert Budget(parameters=900).choose(steps).step == 1
    assert Budget(parameters=899).choose(steps).step == 2
    assert Budget(flops=50).choose(steps).step == 1
    assert Budget(parameters=900, flops=40).choose(steps).step == 2


def test_budget_stops_once_within():
    assert Budget(parameters=800).finished(path(0.9, 0.9)) is None
    assert Budget(parameters=800).finished(path(0.9, 0.9, 0.9)) == "within the budget"


def test_a_budget_that_nothing_fits_names_the_smallest():
    with pytest.raises(ValueError, match="smallest has 900 parameters"):
        Budget(parameters=10).choose(path(0.9, 0.9))


def test_a_budget_of_operations_needs_an_example():
    with pytest.raises(ValueError, match="pass example="):
        Budget(flops=10).finished(path(0.9))


# --- every rule ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: OneStandardError(errors=-1), "errors is -1"),
        (lambda: OneStandardError(errors=float("nan")), "errors is nan"),
        (lambda: OneStandardError(smooth=2), "smooth is 2"),
        (lambda: OneStandardError(smooth=0), "smooth is 0"),
        (lambda: OneStandardError(patience=0), "patience is 0"),
        (lambda: OneStandardError(errors=4), "give_up is 3.0"),
        (lambda: Peak(floor=0), "floor is 0"),
        (lambda: Peak(alive=1.1), "alive is 1.1"),
        (lambda: Peak(alive=-0.1), "alive is -0.1"),
        (lambda: Tolerance(loss=-0.1), "loss is -0.1"),
        (lambda: Tolerance(smooth=4), "smooth is 4"),
        (lambda: Tolerance(patience=0), "patience is 0"),
        (lambda: Budget(), "Budget needs a bound"),
        (lambda: Budget(parameters=0), "parameters is 0"),
        (lambda: Budget(flops=0), "flops is 0"),
    ],
)
def test_bad_values_are_refused_by_name(make, named):
    with pytest.raises(ValueError, match=named):
        make()


def test_every_rule_is_in_the_catalogue():
    assert set(STOPS.values()) == {OneStandardError, Peak, Tolerance, Budget}


score_lists = st.lists(st.floats(0, 1), min_size=2, max_size=15)


@given(score_lists, st.floats(0, 0.2), st.floats(0, 3), st.sampled_from([1, 3, 5]))
def test_one_standard_error_keeps_its_own_bar(scores, error, errors, smooth):
    rule = OneStandardError(errors=errors, smooth=smooth)
    steps, means = path(*scores, error=error), smoothed(scores, smooth)
    index = rule.choose(steps).step
    bar = max(means) - errors * error
    assert 0 <= index < len(steps)
    assert means[index] >= bar
    assert all(mean < bar for mean in means[index + 1 :])  # none smaller would do
    fewest, most = rule.plateau(steps)
    assert fewest == steps[index].neurons <= most


@given(score_lists, st.floats(0, 0.2), st.sampled_from([1, 3, 5]))
def test_tolerance_keeps_its_own_bar(scores, loss, smooth):
    index, means = Tolerance(loss, smooth).choose(path(*scores, error=None)).step, smoothed(scores, smooth)
    assert means[index] >= max(means) - loss
    assert all(mean < max(means) - loss for mean in means[index + 1 :])


@given(score_lists, st.randoms(use_true_random=False), st.floats(0, 1), st.integers(1, 90))
def test_peak_chooses_a_living_step_above_its_floor_or_refuses(scores, random, alive, floor):
    fitness = [None, *(random.random() for _ in scores[1:])]
    widths = [100 - 6 * i for i in range(len(scores))]
    steps = path(*scores, fitness=fitness, widths=widths)
    bar = max(scores) - (1 - alive) * max(scores)
    able = [s for s in steps[1:] if s.neurons >= floor and s.score >= bar]
    if not able:
        with pytest.raises(ValueError, match="dead"):
            Peak(floor, alive).choose(steps)
        return
    choice = Peak(floor, alive).choose(steps)
    assert steps[choice.step] in able
    assert all(s.fitness <= steps[choice.step].fitness for s in able)
    assert bool(choice.warnings) == (choice.step == able[-1].index)


@given(score_lists, st.integers(1, 1000))
def test_budget_is_kept_or_refused(scores, parameters):
    steps = path(*scores, widths=[100 - 6 * i for i in range(len(scores))])
    if steps[-1].parameters > parameters:
        with pytest.raises(ValueError, match="no network on the path fits"):
            Budget(parameters).choose(steps)
        return
    index = Budget(parameters).choose(steps).step
    assert steps[index].parameters <= parameters
    assert index == 0 or steps[index - 1].parameters > parameters
