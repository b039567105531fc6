from tlkeras import consoles


def test_names_are_printed_as_they_are(capsys):
    table = consoles.table("file")
    table.add_row(":cat: [bold].jpg")
    consoles.make().print(":cat: [bold].jpg", table)
    assert capsys.readouterr().out.count(":cat: [bold].jpg") == 2
