"""TensorFlow Lite: a model as one file for phones and small boards, made by TensorFlow's converter, run by LiteRT."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from tlkeras import consoles
from tlkeras.data.dataset import Example
from tlkeras.errors import TlkerasError, in_one_line
from tlkeras.export import lite_metadata
from tlkeras.export.pixels import Pixels

QUANTIZATIONS = ("none", "float16", "dynamic", "int8")
# Images that tell the converter the range of each activation. More changed nothing on flowers12.
_REPRESENTATIVE = 100


def convert(
    model: keras.Model, quantize: str = "none", *, images: Callable[[], Iterator[np.ndarray]], temperature: float = 1.0
) -> bytes:
    """Converts a model of images; the file takes one image of uint8 RGB and gives float32 probabilities in any case.

    Args:
        model: A classifier of images made by `tlkeras.build`.
        quantize: `none`; `float16` or `dynamic` (int8) for the weights alone; `int8` for everything inside, so that
            processors without floating point run it (Jacob et al. 2018, "Quantization and Training of Neural Networks
            for Efficient Integer-Arithmetic-Only Inference").
        images: Gives images of the training part, uint8 `(1, height, width, 3)`; only `int8` asks for them.
        temperature: The logits are divided by it.

    Returns:
        The file, its labels and its description in the format of TensorFlow Lite's own metadata.

    Raises:
        TlkerasError: The converter has no counterpart of something in the model.
    """
    # The input of an int8 model is quantised to uint8 by the converter, and of a float there.
    pixels = Pixels(model, 1, tf.float32 if quantize == "int8" else tf.uint8, temperature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([pixels.concrete], pixels)
    if quantize != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        converter.representative_dataset = lambda: representative(images())
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
    try:
        with _quiet():
            content = converter.convert()
    # It has no class of its own that is public; these are what its layers raise.
    except (RuntimeError, ValueError, tf.errors.OpError, _converter_error()) as error:
        raise TlkerasError(
            f"TensorFlow Lite cannot take {model.name}: {in_one_line(error)}. The formats savedmodel and keras can"
        ) from error
    return lite_metadata.add(content, model)


def _converter_error() -> type[Exception]:
    from tensorflow.lite.python.convert import ConverterError

    return ConverterError


def representative(images: Iterator[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Gives what the converter measures activations on: images as float32, which together reach from 0 to 255.

    Two pixels of the first see to that: the input is then quantised with scale 1 and zero point 0, and uint8 pixels go
    in as they are.
    """
    for number, image in zip(range(_REPRESENTATIVE), images, strict=False):
        image = image.astype(np.float32)
        if number == 0:
            image[0, 0, 0], image[0, -1, -1] = 0.0, 255.0
        yield [image]


def spread(examples: Sequence[Example], count: int = _REPRESENTATIVE) -> list[Example]:
    """Picks examples evenly over a part, which stands sorted by class."""
    return [examples[i] for i in np.unique(np.linspace(0, len(examples) - 1, count).astype(int))]


def runner(content: bytes, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Loads a file with LiteRT.

    Returns:
        A function that takes uint8 images `(batch, height, width, 3)` and gives float32 probabilities
        `(batch, classes)`; it computes one image at a time.

    Raises:
        TlkerasError: LiteRT cannot run the file.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        # It says on standard error what it is going to use.
        with consoles.no_standard_error():
            interpreter = Interpreter(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise TlkerasError(f"LiteRT cannot run what was converted: {in_one_line(error)}") from error
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    if (given["dtype"], answer["dtype"]) != (np.uint8, np.float32):
        raise TlkerasError(f"the converted file takes {given['dtype']} and gives {answer['dtype']}")
    if given["quantization"] not in ((0.0, 0), (1.0, 0)):
        raise TlkerasError(f"the converted file takes no pixels as they are: quantised by {given['quantization']}")

    def one(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(given["index"], image[np.newaxis])
        interpreter.invoke()
        return interpreter.get_tensor(answer["index"])[0]

    return lambda images: np.stack([one(image) for image in images])


def check_installed() -> None:
    """Refuses where LiteRT, which knows the format and runs it, is not there.

    Raises:
        TlkerasError: It is not installed; the message has the pip command.
    """
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except (ImportError, OSError) as error:
        raise TlkerasError(f"format tflite needs LiteRT: pip install 'tlkeras[lite]' ({error})") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what the converter logs and warns of to itself: it speaks to its own developers."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with consoles.no_standard_error(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
