"""Faulty rows are listed by line and reason, stop nobody else, and none is dropped."""

import io
import json

import pytest

from workflows.csv_in import Dialect, check_rows, inspect, read_rows


def taken_in(data, **kwargs):
    """What inspect found, and all rows."""
    stream = io.BytesIO(data.encode() if isinstance(data, str) else data)
    found = inspect(stream, filename="contacts.csv", **kwargs)
    template = kwargs.get("template", "email-waterfall")
    return found, list(read_rows(stream, found.dialect, found.guessed_mapping, template=template))


def faults(rows):
    return {row.line: [fault.code for fault in row.faults] for row in rows if row.faults}


def names(rows):
    return [row.values.get("full_name") for row in rows]


def test_a_good_file_has_no_faults():
    found, rows = taken_in("Name,Company\nAda,Acme\nBob,Brown\n")
    assert (found.rows, found.error_count, found.errors, found.ready_rows) == (2, 0, [], 2)
    assert [(row.line, row.position) for row in rows] == [(2, 0), (3, 1)]


def test_each_fault_has_its_line_and_stops_nobody_else():
    found, rows = taken_in(
        "Name,Company,Website\n"
        "Ada,Acme,acme.example\n"
        ",Acme,\n"
        "Bob,,\n"
        "Cy,Acme,not a domain\n"
        f"{'d' * 10_000},Acme,\n"
        "Eve\x00,Acme,\n"
        "Flo,Acme\n"
        "Gus,Acme,,surplus\n"
        ",,\n"
        "Hal,Acme,,\n"
        "Ida,Acme,\n"
    )
    expected = {
        3: ["missing_name"],
        4: ["missing_company"],
        5: ["bad_domain"],
        6: ["too_long"],
        7: ["nul_byte"],
        8: ["too_few_cells"],
        9: ["too_many_cells"],
        10: ["empty"],
    }
    assert faults(rows) == expected
    assert (found.rows, found.error_count, found.ready_rows) == (11, 8, 3)
    assert {fault.line: [fault.code] for fault in found.errors} == expected
    assert [row.position for row in rows] == list(range(11))


def test_a_faulty_row_keeps_all_its_cells():
    _, rows = taken_in("Name,Company\nAda,Acme,more,,and more\n")
    assert rows[0].values == {
        "full_name": "Ada",
        "company": "Acme",
        "Column 3": "more",
        "Column 5": "and more",
    }


def test_surplus_cells_do_not_take_the_name_of_a_column():
    _, rows = taken_in("Name,Company,Column 4\nAda,Acme,x,y\n")
    assert rows[0].values["Column 4"] == "x"
    assert rows[0].values["Column 4 (2)"] == "y"


def test_blank_lines_are_counted_and_lines_keep_their_numbers():
    found, rows = taken_in("Name,Company\n\nAda,Acme\n \t\n\n\nBob,Brown\n\n")
    assert (found.rows, found.blank_lines) == (2, 5)
    assert [(row.line, row.position) for row in rows] == [(3, 0), (7, 1)]


def test_the_line_is_where_the_row_starts_however_long_it_is():
    _, rows = taken_in('Name,Company,Notes\r\nAda,Acme,"one\r\ntwo\nthree"\r\nBob,,x\r\n')
    assert [row.line for row in rows] == [2, 5]
    assert rows[0].values["Notes"] == "one\r\ntwo\nthree"
    assert faults(rows) == {5: ["missing_company"]}


def test_a_quote_that_never_closes_costs_its_own_row_alone():
    below = "".join(f"Person {n},Acme\n" for n in range(5_000))
    found, rows = taken_in(f'Name,Company\nAda,Acme\nBob,"Brown\n{below}')
    assert faults(rows) == {3: ["unclosed_quote"]}
    assert found.rows == len(rows) == 5_002
    assert rows[1].values == {"full_name": "Bob", "company": '"Brown'}
    assert names(rows)[2:] == [f"Person {n}" for n in range(5_000)]


def test_a_quote_that_never_closes_does_not_swallow_rows_up_to_the_next_quote():
    data = 'Name,Company,City\nAda,"Acme,Ulm\nBob,Brown,Bonn\nCy,"Cyan, Inc",Jena\nDan,"Dun",Kiel\n'
    _, rows = taken_in(data)
    assert names(rows) == ["Ada", "Bob", "Cy", "Dan"]
    assert faults(rows) == {2: ["unclosed_quote"]}


def test_a_quote_closed_by_chance_does_not_swallow_rows_either():
    """The second quote is followed by a separator, so that the two lines are well-formed CSV, of the wrong width."""
    _, rows = taken_in('Name,Company,City\nAda,"Acme,Ulm\nBob,Brown,Bonn\nCy,",Cyan",Jena\n')
    assert faults(rows)[2] == ["unclosed_quote"]
    assert names(rows)[1] == "Bob"
    assert len(rows) == 3


def test_a_quote_that_never_closes_on_the_last_line():
    _, rows = taken_in('Name,Company\nAda,Acme\nBob,"Brown')
    assert faults(rows) == {3: ["unclosed_quote"]}


def test_a_row_with_line_breaks_and_a_cell_too_few_is_one_faulty_row():
    _, rows = taken_in('Name,Company,Notes\n"Ada","Acme\nLtd"\nBob,Brown,x\n')
    assert faults(rows) == {2: ["too_few_cells"]}
    assert [row.line for row in rows] == [2, 4]


@pytest.mark.parametrize(
    ("cell", "company"),
    [
        ('"Acme" Ltd', "Acme Ltd"),
        ('Acme "Big" Ltd', 'Acme "Big" Ltd'),
        ('19" Racks', '19" Racks'),
        ('"The ""Big"" One"', 'The "Big" One'),
        ('"Acme" ', "Acme"),
    ],
)
def test_quotes_inside_a_cell_are_no_fault(cell, company):
    _, rows = taken_in(f"Name,Company,City\nAda,{cell},Ulm\nBob,Brown,Bonn\n")
    assert faults(rows) == {}
    assert rows[0].values == {"full_name": "Ada", "company": company, "City": "Ulm"}
    assert names(rows) == ["Ada", "Bob"]


def test_a_cell_longer_than_the_parsers_own_limit_is_a_fault_and_no_exception():
    for cell in ("x" * 300_000, '"' + "x,y" * 100_000 + '"', '"' + "x\n" * 5_000 + '"'):
        _, rows = taken_in(f"Name,Company,Notes\nAda,Acme,{cell}\nBob,Brown,\n")
        assert rows[0].faults
        assert names(rows)[-1] == "Bob"
        assert rows[-1].faults == []
    _, rows = taken_in('Name,Company,Notes\nAda,Acme,"' + "x\n" * 900 + '"\n')
    assert (len(rows), rows[0].faults) == (1, [])
    assert len(taken_in(f"Name,Company,Notes\nAda,Acme,{'x' * 300_000}\n")[1][0].values["Notes"]) == 300_000


def test_one_bad_byte_in_a_utf_8_file_costs_one_row():
    lines = [f"Zoë {n},Acme".encode() for n in range(20_000)]
    lines[18_000] = b"Zo\xeb,Acme"
    found, rows = taken_in(b"Name,Company\n" + b"\n".join(lines) + b"\n")
    assert found.encoding == "utf-8"
    assert faults(rows) == {18_002: ["bad_text"]}
    assert rows[18_000].values["full_name"] == "Zo\ufffd"
    assert "UTF-8" in rows[18_000].faults[0].message


def test_one_foreign_byte_in_a_file_of_ascii_is_windows_1252():
    lines = [b"Zoe,Acme"] * 20_000
    lines[18_000] = b"Zo\xeb,Acme"
    found, rows = taken_in(b"Name,Company\n" + b"\n".join(lines) + b"\n")
    assert (found.encoding, found.error_count) == ("cp1252", 0)
    assert rows[18_000].values["full_name"] == "Zoë"


def test_a_utf_8_character_on_the_edge_of_a_chunk_is_whole():
    for pad in range(4):
        filler = b"x" * (1_048_576 - 20 - pad)
        data = b"Name,Company,Notes\n" + b"Ada,Acme," + filler[: 1_048_576 - 30 - pad] + "ëëë\n".encode()
        assert taken_in(data)[0].encoding == "utf-8"


def test_a_byte_that_windows_1252_does_not_have_costs_one_row():
    _, rows = taken_in(b"Name,Company\nJ\xfcrgen,Acme\nZ\x81,Acme\n")
    assert faults(rows) == {3: ["bad_text"]}


def test_damaged_utf_16_costs_the_rows_it_is_in():
    data = "Name,Company\nAda,Acme\nBob,Brown\n".encode("utf-16")
    _, rows = taken_in(data.replace("B".encode("utf-16-le"), b"\x00\xdc", 1))
    assert faults(rows) == {3: ["bad_text"]}
    _, rows = taken_in(data + b"C")
    assert names(rows)[:2] == ["Ada", "Bob"]
    assert rows[2].faults


def test_a_nul_byte_does_not_make_a_file_utf_16():
    for nul_at in range(13, 21):
        data = bytearray(b"Name,Company\nAda,Acme\n")
        data.insert(nul_at, 0)
        found, rows = taken_in(bytes(data))
        assert found.encoding == "utf-8"
        assert list(faults(rows).values()) == [["nul_byte"]]


def test_nothing_that_comes_out_is_beyond_storing():
    _, rows = taken_in(
        b"Name,Company,\xebx\x00\nZo\xeb,Ac\x00me,\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\n\xff,x,y,\x00\n"
    )
    text = json.dumps([row.values for row in rows], ensure_ascii=False)
    text.encode("utf-8")
    assert "\\u0000" not in text


def test_excels_habit_of_leaving_empty_last_columns_off_is_no_fault():
    full = "".join(f"P{n},Acme,Ulm,note\n" for n in range(16))
    short = "".join(f"P{n},Acme,Ulm\n" for n in range(16, 48))
    found, rows = taken_in(f"Name,Company,City,Notes\n{full}{short}")
    assert found.dialect.short_widths == (3,)
    assert (found.error_count, len(rows)) == (0, 48)


def test_rows_broken_in_two_are_faults_however_many_they_are():
    broken = "".join(f"P{n},Ac\nme,Ulm,note\n" for n in range(40))
    found, rows = taken_in(f"Name,Company,City,Notes\nAda,Acme,Ulm,x\n{broken}")
    assert found.dialect.short_widths == ()
    assert (len(rows), found.error_count) == (81, 80)


def test_the_list_of_errors_ends_at_200_but_the_count_does_not():
    found, _ = taken_in("Name,Company\n" + "Ada,\n" * 350 + "Bob,Acme\n")
    assert (len(found.errors), found.error_count, found.ready_rows) == (200, 350, 1)


def test_without_a_usable_mapping_rows_are_judged_by_their_form_alone():
    data = b"Foo,Bar\nx,y\nx\nx,\x00\n"
    found = inspect(io.BytesIO(data), filename="x.csv")
    assert found.guessed_mapping == {}
    assert [(fault.line, fault.code) for fault in found.errors] == [(3, "too_few_cells"), (4, "bad_text")]


def test_rows_are_judged_anew_when_the_mapping_is_changed():
    stream = io.BytesIO(b"Name,Company,Site\nAda,Acme,\nBob,,brown.example\n")
    found = inspect(stream, filename="x.csv")
    assert found.error_count == 0
    errors, count = check_rows(
        stream, found.dialect, found.columns, {"full_name": "Name", "company": "Company"}
    )
    assert ([(fault.line, fault.code) for fault in errors], count) == ([(3, "missing_company")], 1)


def test_rows_cannot_be_read_by_a_mapping_that_cannot_be_used():
    stream = io.BytesIO(b"Name,Company\nAda,Acme\n")
    found = inspect(stream, filename="x.csv")
    with pytest.raises(ValueError, match="no column “Firm”"):
        next(read_rows(stream, found.dialect, {"full_name": "Name", "company": "Firm"}))


def test_addresses_to_verify():
    found, rows = taken_in("email,Name\nada@ACME.example,Ada\nrubbish,Bob\n,Cy\n", template="email-verify")
    assert found.guessed_mapping == {"email": "email"}
    assert [row.values for row in rows] == [
        {"email": "ada@acme.example", "Name": "Ada"},
        {"email": "rubbish", "Name": "Bob"},
        {"Name": "Cy"},
    ]
    assert faults(rows) == {3: ["bad_email"], 4: ["missing_email"]}


def test_a_file_of_one_column():
    found, rows = taken_in('email\nada@acme.example\n""\n \nbob@brown.example\n\n', template="email-verify")
    assert (found.rows, found.blank_lines) == (4, 1)
    assert [row.faults == [] for row in rows] == [True, False, False, True]


def test_commas_in_a_file_of_one_column_do_not_separate():
    stream = io.BytesIO(b"Full name\nLovelace, Ada\nBrown, Bob\n")
    found = inspect(stream, filename="x.csv")
    rows = list(read_rows(stream, found.dialect, {}, form_only=True))
    assert [row.values for row in rows] == [{"Full name": "Lovelace, Ada"}, {"Full name": "Brown, Bob"}]


def test_a_dialect_survives_json():
    found, _ = taken_in("sep=;\nName;Company\n" + "Ada;Acme\n")
    again = Dialect.from_dict(json.loads(json.dumps(found.dialect.to_dict())))
    assert again == found.dialect


def test_progress_is_told_as_rows_are_looked_over():
    told: list[int] = []
    taken_in("Name,Company\n" + "Ada,Acme\n" * 2_500, progress=told.append)
    assert told == [1_000, 2_000, 2_500]
