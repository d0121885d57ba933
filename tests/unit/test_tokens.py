"""Text and spans of sampled tokens. The tokenizers are built here, small and without a download."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepcoder_trl.tokens import token_texts


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
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>", clean_up_tokenization_spaces=False
    )


def byte_level_tokenizer() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<eos>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_tokens([AddedToken("<added text>", special=False, normalized=False)])
    return wrap(backend)


def byte_fallback_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers

    tokens = ["<eos>", "<pad>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [chr(code) for code in range(33, 127)] + [
        "\u2581",
        "\u00e9",
        "\u2581\u2581",
        "\u2581\u2581\u2581\u2581",
        "re",
        "tu",
        "retu",
        "rn",
        "return",
    ]
    merges = [
        ("\u2581", "\u2581"),
        ("\u2581\u2581", "\u2581\u2581"),
        ("r", "e"),
        ("t", "u"),
        ("re", "tu"),
        ("r", "n"),
        ("retu", "rn"),
    ]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
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
    # The settings of Llama: lines and runs of spaces survive, unknown characters become bytes.
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
    """What slow tokenizers of transformers expose, without their files on disk."""

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


BYTE_EXACT = {
    "byte-level": byte_level_tokenizer,
    "byte-fallback": byte_fallback_tokenizer,
    "sentencepiece": sentencepiece_tokenizer,
}


ANY = {
    **BYTE_EXACT,
    "metaspace": metaspace_tokenizer,
    "word-piece": word_piece_tokenizer,
    "literal": literal_tokenizer,
}


@pytest.fixture(scope="module", params=BYTE_EXACT.values(), ids=BYTE_EXACT)
def byte_exact(request):
    return request.param()


@pytest.fixture(scope="module", params=ANY.values(), ids=ANY)
def any_tokenizer(request):
    return request.param()


@pytest.fixture(scope="module")
def byte_level():
    return byte_level_tokenizer()


def encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def decode(tokenizer: Any, ids: list[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_that_of_the_tokenizer(byte_exact, text):
    ids = encode(byte_exact, text)

    tokenized = token_texts(ids, byte_exact)

    # SentencePiece puts a space before the text, which its decoder takes away again.
    assert tokenized.text in (text, " " + text)
    assert decode(byte_exact, ids) in (tokenized.text, tokenized.text.removeprefix(" "))


@pytest.mark.parametrize("text", TEXTS)
def test_spans_cover_the_text_in_order(any_tokenizer, text):
    ids = encode(any_tokenizer, text)

    tokenized = token_texts(ids, any_tokenizer)

    assert len(tokenized.spans) == len(ids)
    assert all(start <= end for start, end in tokenized.spans)
    covered = {offset for span in tokenized.spans for offset in range(*span)}
    assert covered == set(range(len(tokenized.text)))
    assert sorted(start for start, _ in tokenized.spans) == [start for start, _ in tokenized.spans]


@pytest.mark.parametrize("build", [metaspace_tokenizer, word_piece_tokenizer, literal_tokenizer])
def test_text_of_other_vocabularies_is_that_of_the_tokenizer(build):
    tokenizer = build()
    ids = encode(tokenizer, "def foo return 1 x")

    tokenized = token_texts(ids, tokenizer)

    assert tokenized.text.strip() == decode(tokenizer, ids).strip()


def test_word_piece_tokens_have_the_text_they_add():
    tokenizer = word_piece_tokenizer()

    tokenized = token_texts([3, 4, 5, 8], tokenizer)

    assert tokenized.text == "def foo 1"
    assert [tokenized.text[start:end] for start, end in tokenized.spans] == ["def", " f", "oo", " 1"]


def test_special_tokens_are_empty_where_they_stand(any_tokenizer):
    ids = encode(any_tokenizer, "x")

    tokenized = token_texts([any_tokenizer.eos_token_id, *ids, any_tokenizer.eos_token_id], any_tokenizer)

    end = len(tokenized.text)
    assert (tokenized.spans[0], tokenized.spans[-1]) == ((0, 0), (end, end))
    assert tokenized.text.strip() == decode(any_tokenizer, ids).strip()


def test_added_token_that_is_not_special_is_its_literal_text(byte_level):
    ids = encode(byte_level, "a<added text>b")

    tokenized = token_texts(ids, byte_level)

    assert tokenized.text == "a<added text>b"
    assert tokenized.spans == ((0, 1), (1, 13), (13, 14))


def test_every_token_with_a_byte_of_a_character_has_the_character(byte_exact):
    ids = encode(byte_exact, "a\U0001f600b")

    tokenized = token_texts(ids, byte_exact)

    at = tokenized.text.index("\U0001f600")
    assert sum(span == (at, at + 1) for span in tokenized.spans) == 4


def test_text_cut_inside_a_character_keeps_its_bytes(byte_level):
    ids = encode(byte_level, "a\U0001f600")[:-1]

    tokenized = token_texts(ids, byte_level)

    assert tokenized.text == "a\ufffd" == decode(byte_level, ids)
    assert tokenized.spans == ((0, 1), (1, 2), (1, 2), (1, 2))


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_sampled_ids_map_to_their_text(byte_level, data):
    ids = data.draw(st.lists(st.integers(0, len(byte_level) + 3), max_size=30))

    tokenized = token_texts(ids, byte_level)

    assert tokenized.text == decode(byte_level, [token_id for token_id in ids if token_id < len(byte_level)])
    assert len(tokenized.spans) == len(ids)
    assert all(0 <= start <= end <= len(tokenized.text) for start, end in tokenized.spans)


@given(st.lists(st.binary(max_size=5), max_size=12))
def test_bytes_decode_as_python_decodes_them(pieces):
    from stepcoder_trl.tokens import _join

    tokenized = _join(pieces)

    data = b"".join(pieces)
    assert tokenized.text == data.decode("utf-8", errors="replace")
    for index, piece in enumerate(pieces):
        start, end = tokenized.spans[index]
        before = len(b"".join(pieces[:index]))
        assert (start == end) == (not piece)
        # The text up to a token's end is at least as long as what its bytes alone decode to.
        assert end >= len(data[: before + len(piece)].decode("utf-8", errors="ignore"))


def test_no_tokens_have_no_text(any_tokenizer):
    tokenized = token_texts([], any_tokenizer)

    assert (tokenized.text, tokenized.spans) == ("", ())
