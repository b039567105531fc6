"""BERT's tokenizer as a layer: strings in, numbers of word pieces out, the same in training and inside a SavedModel.

The steps and their order are those of the package `tokenizers`, which the published models come with. KerasHub's own
tokenizer splits words at soft hyphens and joiners, which the original takes out, and knows the blanks of ASCII only.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tlkeras.backbones.text import needs

# What belongs to no word: controls, format marks and private use, and what stands for a character that was lost.
_DROPPED = r"[^\P{C}\t\n\r]|\x{FFFD}"
_BLANK = r"[\t\n\r\p{Z}]"
_PUNCTUATION = r"[!-/:-@\[-`{-~\p{P}]"
_CHINESE = (
    r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}"
    r"\x{2B920}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}]"
)
_LONGEST_WORD = 100


@keras.saving.register_keras_serializable(package="tlkeras")
class WordPieces(keras.layers.Layer):
    """Turns texts `(batch,)` into numbers of word pieces and their mask, both `(batch, longest of the batch)`.

    Each text begins with `[CLS]` and ends with `[SEP]`; what is longer than `most` is cut, what is shorter is filled up
    with `[PAD]`, where the mask is false. `[SEP]` and the like inside a text are words like others. Bytes that are no
    UTF-8 are passed over. Devlin et al., "BERT", 2018; Song et al., "Fast WordPiece Tokenization", 2020.

    Args:
        vocabulary: The word pieces by number, one a line, as in a vocab.txt.
        most: The most pieces that a text may have, `[CLS]` and `[SEP]` included.
        lowercase: Whether case is ignored.
        strip_accents: Whether accents are.

    Raises:
        TlkerasError: TensorFlow Text is not installed.
    """

    # What must be imported before a SavedModel with this layer in it is loaded.
    needs = "tensorflow_text"

    def __init__(self, vocabulary: str, most: int, lowercase: bool = True, strip_accents: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary, self.most = vocabulary, most
        self.lowercase, self.strip_accents = lowercase, strip_accents
        pieces = vocabulary.split("\n")
        self._pad, self._begin, self._end = (pieces.index(mark) for mark in ("[PAD]", "[CLS]", "[SEP]"))
        self._text_ops = needs(self.needs)
        # In a graph its tables would belong to that graph alone.
        with tf.init_scope():
            self._pieces = self._text_ops.FastWordpieceTokenizer(
                pieces, token_out_type=tf.int32, no_pretokenization=True, max_bytes_per_word=4 * _LONGEST_WORD
            )

    def call(self, texts):
        pieces = self._pieces.tokenize(self._words(texts)).merge_dims(-2, -1)[:, : self.most - 2]
        ends = tf.ones_like(texts, tf.int32)[:, tf.newaxis]
        pieces = tf.concat([self._begin * ends, pieces, self._end * ends], axis=1)
        padded = pieces.to_tensor(self._pad)
        return padded, tf.sequence_mask(pieces.row_lengths(), tf.shape(padded)[1])

    def _words(self, texts) -> tf.RaggedTensor:
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="ignore")
        texts = tf.strings.regex_replace(texts, _DROPPED, "")
        texts = tf.strings.regex_replace(texts, _CHINESE, r" \0 ")
        if self.strip_accents:
            texts = tf.strings.regex_replace(self._text_ops.normalize_utf8(texts, "NFD"), r"\p{Mn}", "")
        if self.lowercase:
            # The capital sigma alone is lowered by its place in the word, which the original does not look at.
            texts = tf.strings.lower(tf.strings.regex_replace(texts, "Σ", "σ"), encoding="utf-8")
        words = self._text_ops.regex_split(texts, f"{_BLANK}|{_PUNCTUATION}", _PUNCTUATION)
        too_long = tf.strings.length(words.flat_values, "UTF8_CHAR") > _LONGEST_WORD
        return words.with_flat_values(tf.where(too_long, "[UNK]", words.flat_values))

    def compute_output_spec(self, texts):
        shape = (*texts.shape, None)
        return keras.KerasTensor(shape, "int32"), keras.KerasTensor(shape, "bool")

    def get_config(self):
        own = ("vocabulary", "most", "lowercase", "strip_accents")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
