import pytest

from tlkeras.cli import main


@pytest.fixture
def refusal(capsys):
    """Runs a command that a user's mistake ends, and gives its one line."""

    def command(*arguments):
        with pytest.raises(SystemExit) as left:
            main(list(map(str, arguments)))
        printed = capsys.readouterr().err
        assert left.value.code == 2 and len(printed.splitlines()) == 1
        return printed

    return command
