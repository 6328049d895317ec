"""Every row of the table of what the four documents say (A1, rows 1 to 61) has a test, and none of them is skipped."""

import ast
from pathlib import Path

HERE = Path(__file__).resolve().parent
TAPE, GUIDE, NOTES, TORCH = "test_000_gradient_tape", "test_001_autodiff_guide", "test_002_notes", "test_003_autograd"
STATED = "test_stated_behaviours"

ROWS = {
    1: [(TAPE, "test_the_basics"), (GUIDE, "test_a_scalar")],
    2: [(TAPE, "test_a_constant_that_is_watched"), (GUIDE, "test_watch"), (NOTES, "test_the_example")],
    3: [(TAPE, "test_when_the_gradient_is_none"), (NOTES, "test_without_watching")],
    4: [(TAPE, "test_several_variables")],
    5: [(TAPE, "test_a_tape_serves_once"), (NOTES, "test_one_set_of_gradients")],
    6: [(TAPE, "test_a_persistent_tape")],
    7: [(GUIDE, "test_several_gradients"), (STATED, "test_a_persistent_tape_keeps_all_until_it_is_gone")],
    8: [(TAPE, "test_second_order"), (TAPE, "test_second_order_as_it_is_written")],
    9: [(TAPE, "test_second_order")],
    10: [(TAPE, "test_linear_regression_by_hand")],
    11: [(TAPE, "test_linear_regression_with_an_optimizer")],
    12: [(TAPE, "test_optimizers_by_name")],
    13: [(TAPE, "test_fit_does_the_loop")],
    14: [(TAPE, "test_when_the_gradient_is_none")],
    15: [(TAPE, "test_when_the_gradient_is_none"), (GUIDE, "test_integers")],
    16: [(STATED, "test_recorded_ops_are_walked_in_reverse")],
    17: [(GUIDE, "test_any_tensor_and_any_nesting")],
    18: [(GUIDE, "test_any_tensor_and_any_nesting")],
    19: [(GUIDE, "test_any_tensor_and_any_nesting")],
    20: [(GUIDE, "test_any_tensor_and_any_nesting")],
    21: [(GUIDE, "test_a_model")],
    22: [(GUIDE, "test_a_module_gathers_variables")],
    23: [(STATED, "test_recording_starts_when_a_variable_is_read")],
    24: [(GUIDE, "test_what_is_watched")],
    25: [(GUIDE, "test_what_is_watched")],
    26: [(GUIDE, "test_watch_only_what_is_said")],
    27: [(GUIDE, "test_intermediate_results"), (NOTES, "test_two_tapes_at_once")],
    28: [(STATED, "test_nothing_is_recorded_outside_a_tape")],  # and bench/overhead.py
    29: [(STATED, "test_a_tape_keeps_what_it_needs_until_the_gradient")],
    30: [
        (STATED, "test_an_op_that_does_not_need_its_input_does_not_keep_it"),
        (STATED, "test_a_persistent_tape_keeps_all_until_it_is_gone"),
    ],
    31: [(GUIDE, "test_two_targets")],
    32: [(GUIDE, "test_the_gradient_of_the_sum_of_targets")],
    33: [(GUIDE, "test_the_gradient_of_the_sum_of_a_target")],
    34: [(STATED, "test_a_jacobian_for_gradients_of_each_element")],
    35: [(GUIDE, "test_an_element_wise_target_and_its_picture")],
    36: [(GUIDE, "test_control_flow")],
    37: [(GUIDE, "test_control_flow")],
    38: [(GUIDE, "test_not_connected")],
    39: [(GUIDE, "test_a_variable_replaced_by_a_tensor")],
    40: [(GUIDE, "test_computed_outside")],
    41: [(GUIDE, "test_strings")],
    42: [(GUIDE, "test_nothing_is_cast")],
    43: [(GUIDE, "test_tensors_do_not_change")],
    44: [(GUIDE, "test_state_stops_gradients")],
    45: [(GUIDE, "test_datasets_and_queues_stop_gradients")],
    46: [(GUIDE, "test_ops_that_are_not_differentiable")],
    47: [(GUIDE, "test_no_gradient_registered")],
    48: [(GUIDE, "test_an_op_written_again_has_a_gradient")],
    49: [(GUIDE, "test_zeros_instead_of_none")],
    50: [(NOTES, "test_the_example")],
    51: [(NOTES, "test_a_variable_needs_no_watching")],
    52: [(NOTES, "test_two_tapes_at_once")],
    53: [(NOTES, "test_the_import_is_the_front_door")],
    54: [(TORCH, "test_a_gradient")],
    55: [(TORCH, "test_the_graph")],
    56: [(TORCH, "test_only_what_requires_grad_has_a_grad")],
    57: [(TORCH, "test_no_grad"), (TORCH, "test_transfer_learning_freezes_a_part")],
    58: [(TORCH, "test_detach")],
    59: [(TORCH, "test_training_as_it_is_written")],
    60: [
        (TORCH, "test_training_as_it_is_written"),
        (TORCH, "test_training_with_zero_grad"),
        (TORCH, "test_outputs_come_near_the_target"),
    ],
    61: [(TORCH, "test_backward_accumulates")],
}


def test_every_row_has_a_test():
    assert sorted(ROWS) == list(range(1, 62))
    there = set()
    for path in HERE.glob("test_*.py"):
        source = path.read_text(encoding="utf-8")
        assert "skip" not in source or path == Path(__file__)
        tree = ast.parse(source)
        there |= {(path.stem, f.name) for f in tree.body if isinstance(f, ast.FunctionDef)}
    assert {t for tests in ROWS.values() for t in tests} <= there
