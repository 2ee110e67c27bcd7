"""The decoder of a film or stream: PyAV, or OpenCV where PyAV is absent."""

from __future__ import annotations

from typing import Literal

from edgeyolo.errors import RuntimeMissingError
from edgeyolo.stream.decoder import Address, Decoder

DecoderName = Literal["auto", "pyav", "opencv"]


def open_decoder(address: Address, decoder: DecoderName = "auto") -> Decoder:
    """Open a film or stream.

    Raises SourceError where it cannot be opened, DeniedError where a login is missing, RuntimeMissingError where the
    asked-for decoder is not installed.
    """
    have = _have_pyav()
    if decoder == "pyav" and not have:
        raise RuntimeMissingError(
            "decoding by PyAV: the package av is not installed", hint="pip install edgeyolo[video]"
        )
    if decoder == "opencv" or not have:
        from edgeyolo.stream.decode_opencv import OpencvDecoder

        return OpencvDecoder.of_address(address)
    from edgeyolo.stream.decode_pyav import PyavDecoder

    return PyavDecoder(address)


def _have_pyav() -> bool:
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True
