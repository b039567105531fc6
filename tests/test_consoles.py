import subprocess
import sys

from tlkeras import consoles

WRITING = """
import os, sys
from tlkeras import consoles

with consoles.no_native_standard_error():
    os.write(2, b"libjpeg")
    print("python", file=sys.stderr)
print("after", file=sys.stderr)
os.write(2, b"native")
"""


def test_names_are_printed_as_they_are(capsys):
    table = consoles.table("file")
    table.add_row(":cat: [bold].jpg")
    consoles.make().print(":cat: [bold].jpg", table)
    assert capsys.readouterr().out.count(":cat: [bold].jpg") == 2


def test_what_libraries_in_c_say_is_kept_off():
    done = subprocess.run([sys.executable, "-c", WRITING], capture_output=True, text=True, check=True)
    assert done.stderr == "python\nafter\nnative"
