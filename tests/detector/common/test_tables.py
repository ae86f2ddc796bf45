from detector.common.tables import aligned_table, markdown_table


def test_a_markdown_table_has_a_rule_below_its_head() -> None:
    assert markdown_table(["a", "b"], [["1", "2"], ("3", "4")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |"
    assert markdown_table(["a"], []) == "| a |\n| --- |"


def test_columns_are_aligned_to_the_right_but_for_the_first() -> None:
    assert aligned_table([["class", "AP"], ["a", "0.5000"]]) == ["class      AP", "a      0.5000"]
