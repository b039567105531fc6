"""TensorFlow as commands start it, each time in a process of its own."""

import subprocess
import sys

START = """
import gc, sys
from tlkeras.cli import quiet
with quiet.start():
    from tlkeras import data, job
"""


def said_after(code):
    done = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, check=False)
    return done.stdout.split(), done.stderr


def test_what_is_not_needed_at_the_start_can_be_imported_later():
    code = """
early = {"matplotlib", "sklearn", "pandas"} & set(sys.modules)
import keras, matplotlib.figure, sklearn.metrics
from tlkeras import report
print(len(early), gc.isenabled(), gc.get_freeze_count() > 100_000, sklearn.metrics.accuracy_score([1, 0], [1, 1]))
"""
    assert said_after(code) == (["0", "True", "True", "0.5"], "")


def test_reading_images_converts_no_code(photo_folder):
    code = f"""
found = data.load({str(photo_folder)!r})
from tlkeras.data.pipeline import evaluation_set, training_set
examples = found.parts["val"]
read = [evaluation_set(examples, found.classes, 8, 2)]
read += [training_set(examples, found.classes, 8, 2, seed=0, epoch_range=(0, 1), augment="strong")]
print(*(len(list(some)) for some in read))
print(sum(name.startswith("__autograph_generated_file") for name in sys.modules))
"""
    assert said_after(code)[0] == ["3", "3", "0"]


def test_what_goes_wrong_later_is_seen():
    _, written = said_after("print('a warning', file=sys.stderr)\nraise ValueError('an error')")
    assert written.startswith("a warning") and written.splitlines()[-1] == "ValueError: an error"
