from fishray.report.columns import Column, align, needed_width

ROWS = [
    Column("name", ["a", "bcdef"]),
    Column("settings", ["x, y, z", "1, 2"], least=4),
    Column("score", ["0.5", "10.25"], "right"),
]


def plain(lines):
    return [line.plain for line in lines]


def test_columns_are_as_wide_as_their_widest_cell():
    assert plain(align(ROWS, 80)) == [
        " name   settings  score",
        " a      x, y, z     0.5",
        " bcdef  1, 2      10.25",
    ]


def test_a_column_that_may_shrink_gives_way_and_no_line_is_wider_than_asked():
    assert needed_width(ROWS) == 1 + 5 + 2 + 4 + 2 + 5
    assert plain(align(ROWS, needed_width(ROWS)))[1:] == [" a      x, …    0.5", " bcdef  1, 2  10.25"]


def test_a_span_stands_in_place_of_the_cells_from_its_column_on():
    lines = plain(align(ROWS, 20, spans={0: (1, "failed: out of memory")}))
    assert lines[1] == " a      failed: out…"


def test_a_span_may_begin_under_the_first_cut_of_a_row():
    assert plain(align(ROWS, 40, spans={1: (2, "late")}))[2] == " bcdef  1, 2      late"
