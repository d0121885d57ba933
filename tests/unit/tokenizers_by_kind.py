"""One small tokenizer of each kind, built without a download."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest

from tests.conftest import byte_level_bpe


CORPUS = [
    "def f(x):\n    return x + 1\n",
    "for i in range(10):\n\tprint('h\u00e9llo', i)\n",
    "if a == b:\n        pass\n",
] * 4


TEXTS = [
    "def f(x):\n    return x + 1\n",
    "x = '\u00e9 \u4e16\u754c \U0001f600'\r\n\tprint(x)",
    "  leading and trailing  \n\n",
    "a\u2028b\x85c\x0c",
]


def wrap(backend: Any) -> Any:
    """Return the tokenizer of transformers for one of the `tokenizers` library."""
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>", clean_up_tokenization_spaces=False
    )


def byte_level_tokenizer() -> Any:
    from tokenizers import AddedToken

    backend = byte_level_bpe(CORPUS, 320, ["<eos>", "<pad>"])
    backend.add_tokens([AddedToken("<added text>", special=False, normalized=False)])
    return wrap(backend)


def byte_fallback_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers

    tokens = ["<eos>", "<pad>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [*map(chr, range(33, 127)), "\u00e9", "\u2581"]
    merges = [("\u2581", "\u2581"), ("\u2581\u2581", "\u2581\u2581")]
    merges += [("r", "e"), ("t", "u"), ("re", "tu"), ("r", "n"), ("retu", "rn")]
    tokens += [first + second for first, second in merges]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<eos>", "<pad>"])
    return wrap(backend)


def unigram_byte_fallback_tokenizer() -> Any:
    """Tokenizer that gives all bytes of a run the offsets of the whole run."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    tokens = ["<eos>", "<pad>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [*map(chr, range(33, 127)), "\u2581"]
    backend = Tokenizer(models.Unigram([(token, -1.0) for token in tokens], unk_id=2, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<eos>", "<pad>"])
    return wrap(backend)


def metaspace_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120,
        special_tokens=["<eos>", "<pad>", "<unk>"],
        unk_token="<unk>",
        initial_alphabet=sorted(set("".join(TEXTS)) - {" "}),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    return wrap(backend)


def word_piece_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = ["<eos>", "<pad>", "<unk>", "def", "f", "##oo", "re", "##turn", "1", "x"]
    backend = Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.WordPiece(cleanup=False)
    backend.add_special_tokens(["<eos>", "<pad>"])
    return wrap(backend)


def literal_tokenizer() -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    words = ["<eos>", "<pad>", "<unk>", "def", " ", "f", "\n", "return"]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s|\w+"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(["<eos>", "<pad>"])
    return wrap(backend)


def sentencepiece_tokenizer() -> Any:
    """Slow tokenizer over a SentencePiece model with byte fallback."""
    spm = pytest.importorskip("sentencepiece")
    model = BytesIO()
    # Llama's settings: line ends and several spaces are kept, unknown characters become bytes.
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in CORPUS for line in text.split("\n")]),
        model_writer=model,
        vocab_size=320,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return SlowSentencePiece(spm.SentencePieceProcessor(model_proto=model.getvalue()))


class SlowSentencePiece:
    """Stand-in for a slow tokenizer of transformers, which needs files on disk."""

    def __init__(self, sp_model: Any) -> None:
        self.sp_model = sp_model
        self.all_special_ids = [sp_model.eos_id()]
        self.added_tokens_decoder: dict[int, Any] = {}
        self.eos_token_id = sp_model.eos_id()

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        ids: list[int] = self.sp_model.encode(text)
        return ids

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.sp_model.id_to_piece(token_id) for token_id in ids]

    def decode(self, ids: list[int], **kwargs: object) -> str:
        text: str = self.sp_model.decode([token_id for token_id in ids if token_id != self.eos_token_id])
        return text


# These keep every byte of a text.
BYTE_EXACT = {
    "byte-level": byte_level_tokenizer,
    "byte-fallback": byte_fallback_tokenizer,
    "unigram-byte-fallback": unigram_byte_fallback_tokenizer,
    "sentencepiece": sentencepiece_tokenizer,
}


TOKENIZERS = {
    **BYTE_EXACT,
    "metaspace": metaspace_tokenizer,
    "word-piece": word_piece_tokenizer,
    "literal": literal_tokenizer,
}
