"""Encoders, decoders, outputs, the model that is made of them, and the families of the catalog.

What is imported here is known to Keras when it loads a model from a file.
"""

from .copying import PointerGeneratorOutput
from .coverage import CoverageLoss
from .embedding import ScaledEmbedding
from .encoder_decoder import EncoderDecoder
from .outputs import VocabularyOutput
from .parts import AttentionMaps, Decoder, Encoded, Encoder, Output
from .recurrent import RecurrentEncoder
from .recurrent_decoder import RecurrentDecoder
from .sentences import SentenceEncoder
from .transformer_parts import TransformerDecoder, TransformerEncoder

__all__ = [
    "AttentionMaps",
    "CoverageLoss",
    "Decoder",
    "Encoded",
    "Encoder",
    "EncoderDecoder",
    "Output",
    "PointerGeneratorOutput",
    "RecurrentDecoder",
    "RecurrentEncoder",
    "ScaledEmbedding",
    "SentenceEncoder",
    "TransformerDecoder",
    "TransformerEncoder",
    "VocabularyOutput",
]
