import subprocess
import sys

from tlkeras.errors import TlkerasError, TryAgain, in_one_line, mistake_in, unknown_name


def test_the_nearest_name_comes_first():
    message = str(unknown_name("backbone", "resnet5", ["mobilenet", "resnet50"]))
    assert message == ("unknown backbone. Did you mean 'resnet50'? Legal: mobilenet, resnet50. Received: 'resnet5'")


def test_nothing_near_is_no_hint():
    assert "Did you mean" not in str(unknown_name("backbone", "zzz", ["mobilenet"]))


def test_of_tensorflow_the_line_for_the_user_is_left():
    assert in_one_line(ValueError("{{node A}} /a.png; No such file [Op:ReadFile] name: ")) == "/a.png; No such file"
    trace = "Graph execution error:\n\nDetected at node x\n\nInvalid PNG data\n\t [[{{node x}}]] [Op:y]"
    assert in_one_line(ValueError(trace)) == "Invalid PNG data"
    assert in_one_line(ValueError("{{function_node f}} {{node A}} bad")) == "bad"
    assert in_one_line(ValueError()) == "ValueError"


def test_what_is_no_name_of_a_node_stays():
    assert in_one_line(ValueError('{"a": {"classes": [["x"]]}}')) == '{"a": {"classes": [["x"]]}}'


def test_a_mistake_is_found_in_what_was_made_of_it():
    mistake = TlkerasError("no such package")
    try:
        try:
            raise mistake
        except TlkerasError as error:
            raise TypeError(f"could not be deserialized: {error}")  # noqa: B904
    except TypeError as error:
        assert mistake_in(error) is mistake
    assert mistake_in(TypeError()) is None


def test_to_try_again_has_an_exit_code_of_its_own():
    assert (TlkerasError("").exit_code, TryAgain("").exit_code) == (2, 75)
    program = "from tlkeras import cli, errors\nclass Group:\n def main(*_, **__): raise errors.TryAgain('gone')\n"
    program += "cli.group = Group()\ncli.main(['train'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (75, "Error: gone\n")
