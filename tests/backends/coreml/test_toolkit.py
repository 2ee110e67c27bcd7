"""Packages hidden while coremltools loads."""

import importlib
import sys

import pytest

from edgeyolo_coreml.toolkit import _hidden


def test_a_hidden_package_fails_only_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    with _hidden(("wave", "json")):
        with pytest.raises(ImportError):
            importlib.import_module("wave")
        assert importlib.import_module("json")
    assert importlib.import_module("wave") and "json" in sys.modules
